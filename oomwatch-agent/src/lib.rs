//! The agent as a library: the tests drive its pipeline.
