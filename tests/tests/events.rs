//! `oomwatch events` as its users have it: over journals that the agent's own writer made, and over an API that comes
//! and goes. No privilege is needed.

#![cfg(test)]

mod events {
    mod api;
    mod follow;
    mod follower;
    mod shared;
    mod shown;
}
