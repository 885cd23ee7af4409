//! Stands in for what cannot be had on a developer's machine: a kubelet and an API server, over TLS, as far as the
//! agent speaks with them. It answers with captured lists of pods, and misbehaves as it is told by files.
//!
//! ```text
//! DIR/kubelet/ca.crt        what its certificate is signed by: it is for the node's name and no address, like a
//!                           kubelet's own; with --kubelet-signed it is the cluster's CA
//! DIR/pods.json             what GET /pods answers; absent: an empty list
//! DIR/kubelet/mode          how it behaves: see `kubelet.rs`
//! DIR/serviceaccount/       token, ca.crt, namespace, as they are mounted into a pod
//! DIR/kubeconfig            a way to the API server
//! DIR/api/mode              how that behaves: see `api.rs`
//! DIR/api/old               there: it takes Events as Kubernetes 1.20 does
//! DIR/api/allowed           what the service account may do to Events, a verb a line; absent: create, patch
//! DIR/api/events/NS/NAME.json
//! DIR/{kubelet,api}/{address,requests}
//! ```
//!
//! All files are read anew for each request.

mod api;
mod certificates;
mod events;
mod files;
mod http;
mod kubelet;

use std::{
    io::{self, Write as _},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    thread,
};

use anyhow::{Context, Result, bail};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::{certificates::Authority, files::Folder, http::Exchange};

struct Options {
    dir: PathBuf,
    kubelet: SocketAddr,
    api: SocketAddr,
    name: String,
    is_signed: bool,
}

const USAGE: &str =
    "usage: oomwatch-standin --dir DIR [--kubelet ADDR] [--api ADDR] [--name NODE] [--kubelet-signed]";

fn options() -> Result<Options> {
    let any: SocketAddr = "127.0.0.1:0".parse()?;
    let (mut dir, mut kubelet, mut api) = (None, any, any);
    let (mut name, mut is_signed) = ("node-a".to_owned(), false);
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{option} needs a value: {USAGE}"));
        match option.as_str() {
            "--dir" => dir = Some(PathBuf::from(value()?)),
            "--kubelet" => kubelet = value()?.parse()?,
            "--api" => api = value()?.parse()?,
            "--name" => name = value()?,
            "--kubelet-signed" => is_signed = true,
            _ => bail!("{option}: {USAGE}"),
        }
    }
    Ok(Options { dir: dir.context(USAGE)?, kubelet, api, name, is_signed })
}

fn main() -> Result<()> {
    let options = options()?;
    let folder = Folder::make(&options.dir)?;
    let cluster = Authority::new("kubernetes")?;
    let own = Authority::new(&format!("{}-ca@1", options.name))?;
    let kubelet = TcpListener::bind(options.kubelet).context("the kubelet's address")?;
    let api = TcpListener::bind(options.api).context("the API server's address")?;
    let (kubelet_at, api_at) = (kubelet.local_addr()?, api.local_addr()?);
    let (signer, names) = if options.is_signed {
        (&cluster, vec![options.name.clone(), kubelet_at.ip().to_string()])
    } else {
        (&own, vec![options.name.clone()])
    };
    let kubelets = signer.server(&names)?;
    let apis = cluster.server(&["kubernetes.default.svc".to_owned(), api_at.ip().to_string()])?;
    folder.publish(&cluster.pem(), &signer.pem(), kubelet_at, api_at)?;
    let folder = Arc::new(folder);
    let of_kubelet = serve(kubelet, kubelets, &folder, kubelet::answer);
    let of_api = serve(api, apis, &folder, api::answer);
    writeln!(io::stdout(), "ready kubelet={kubelet_at} api={api_at}")?;
    for server in [of_kubelet, of_api] {
        drop(server.join());
    }
    Ok(())
}

type Answer = fn(&Folder, Exchange<'_>) -> Result<()>;

/// A thread for each connection; a connection that breaks is the agent's affair, and its tests'.
fn serve(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    folder: &Arc<Folder>,
    answer: Answer,
) -> thread::JoinHandle<()> {
    let folder = Arc::clone(folder);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, folder) = (Arc::clone(&config), Arc::clone(&folder));
            thread::spawn(move || -> Result<()> {
                let stream = StreamOwned::new(ServerConnection::new(config)?, stream);
                Exchange::receive(stream, |exchange| answer(&folder, exchange))
            });
        }
    })
}
