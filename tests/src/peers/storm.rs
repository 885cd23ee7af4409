//! The same storm beside oomwatch and beside its peers, with the victim's status read by each: who gets it in time?

use std::{fmt, path::Path, time::Duration};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::{Peer, Running, Status};
use crate::{
    machine::Machine,
    memcg::Hierarchy,
    storm::{Kills, Outcome, Percent, Storm},
};

/// No line for so long means that none will come any more.
const SILENCE: Duration = Duration::from_secs(10);
/// bpftrace's has no such reading: its language cannot open a file of a victim's.
const PEERS: [Peer; 2] = [Peer::Bcc, Peer::Libbpf];

/// The storms to be made, one after another.
#[derive(Clone, Copy, Debug)]
pub struct PeerStorm<'a> {
    /// oomwatch's.
    pub storm: Storm<'a>,
    /// How many kills beside each peer.
    pub kills: u64,
    /// For changed copies.
    pub folder: &'a Path,
}

/// What became of the kills beside all of them.
#[derive(Clone, Debug, Serialize)]
pub struct Raced {
    /// oomwatch.
    pub oomwatch: Outcome,
    /// The others.
    pub peers: Vec<PeerOutcome>,
}

/// What became of the kills beside one peer.
#[derive(Clone, Debug, Serialize)]
pub struct PeerOutcome {
    /// Which.
    pub name: String,
    /// By the kernel's count.
    pub kills: u64,
    /// Of that count.
    pub kills_per_second: f64,
    /// Victims that it named.
    pub lines: u64,
    /// What it says that it lost.
    pub said_lost: u64,
    /// Victims whose status was read while they had memory.
    pub alive: u64,
}

impl PeerStorm<'_> {
    /// Makes them.
    ///
    /// # Errors
    /// See [`Storm::run`]; a peer is not installed or does not start. What it misses is no error.
    pub fn run(&self) -> Result<Raced> {
        let oomwatch = self.storm.run()?;
        let peers = PEERS.iter().map(|&peer| self.beside(peer)).collect::<Result<_>>()?;
        Ok(Raced { oomwatch, peers })
    }

    fn beside(&self, peer: Peer) -> Result<PeerOutcome> {
        let (mut running, _) = Running::start(peer, Status::Read, self.folder)?;
        let (machine, hierarchy) = (Machine::this()?, Hierarchy::mounted()?);
        let mut kills = Kills::prepare(&machine, &hierarchy, self.storm.program, self.kills)?;
        let made = kills.make(self.storm.within)?;
        running.wait_for(made.kernel, SILENCE)?;
        let said = running.stop()?;
        let works = !said.kills.is_empty() && said.status.victims > 0;
        ensure!(works, "{} named no victim, or read no status: {}", peer.name(), said.complaints);
        Ok(PeerOutcome {
            name: peer.name().to_owned(),
            kills: made.kernel,
            kills_per_second: made.per_second(),
            lines: u64::try_from(said.kills.len())?,
            said_lost: said.lost,
            alive: said.status.alive,
        })
    }
}

impl fmt::Display for Raced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ours = &self.oomwatch;
        write!(f, "{ours}")?;
        writeln!(f, "beside its peers, each with the victim's status read:")?;
        let own = (&ours.kills, ours.kills_per_second, ours.victims, ours.status.alive);
        let peers = self
            .peers
            .iter()
            .map(|peer| (peer.name.as_str(), (&peer.kills, peer.kills_per_second, peer.lines, peer.alive)));
        for (name, (kills, rate, named, alive)) in [("oomwatch", own)].into_iter().chain(peers) {
            writeln!(
                f,
                "  {name:<22} {kills} kills at {rate:.0} a second, {named} named, {} not; status alive {alive} = {}",
                kills.saturating_sub(named),
                Percent(alive, *kills)
            )?;
        }
        Ok(())
    }
}
