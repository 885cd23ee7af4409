//! The kubelet: `GET /pods` and nothing else. `DIR/kubelet/mode` is one of
//!
//! `ok` · `401` `403` `404` `500` `503` · `garbage` (not JSON) · `html` · `truncated` (stops in the middle) ·
//! `hang` (never answers) · `slow MS` · `drip` (a byte each 100 ms) · `huge` (50 MB of pods before the list's own) ·
//! `endless` · `close` (not a byte) · `nulls`; `MODE N` holds for N requests.

use std::{thread::sleep, time::Duration};

use anyhow::Result;

use crate::{files::Folder, http::Exchange};

const NONE: &str = r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":null}"#;
/// As a kubelet of 1.36 says it.
const FORBIDDEN: &str = "Forbidden (user=system:serviceaccount:oomwatch:oomwatch, verb=get, resource=nodes, \
                         subresource(s)=[pods proxy])";

pub(crate) fn answer(folder: &Folder, exchange: Exchange<'_>) -> Result<()> {
    let mode = folder.mode("kubelet");
    let mode: Vec<&str> = mode.iter().map(String::as_str).collect();
    let is_permitted = folder.is_permitted(exchange.authorization.as_deref());
    folder.note("kubelet", &format!("{} {} {}", exchange.method, exchange.path, mode.join(" ")));
    let list = folder.read("pods.json").unwrap_or_else(|| NONE.to_owned());
    // What a kubelet looks at first (pkg/kubelet/server/server.go): the path, then who asks.
    match mode.as_slice() {
        _ if exchange.path != "/pods" => exchange.answer(404, "404 page not found\n"),
        _ if !is_permitted => exchange.answer(401, "Unauthorized"),
        [] | ["ok"] => exchange.answer(200, &list),
        ["slow", milliseconds] => {
            sleep(Duration::from_millis(milliseconds.parse()?));
            exchange.answer(200, &list)
        }
        ["401"] => exchange.answer(401, "Unauthorized"),
        ["403"] => exchange.answer(403, FORBIDDEN),
        ["garbage"] => exchange.answer(200, "\u{1}\u{2}not json at all"),
        ["html"] => exchange.answer(200, "<html><body>Please log in</body></html>"),
        ["truncated"] => {
            let half: Vec<u8> = list.bytes().take(list.len() / 2).collect();
            exchange.begin()?.write(&half).map(drop)
        }
        ["hang"] => exchange.hang(),
        ["drip"] => {
            let mut exchange = exchange.begin()?;
            for byte in list.bytes() {
                sleep(Duration::from_millis(100));
                exchange = exchange.write(&[byte])?;
            }
            Ok(())
        }
        ["huge"] => {
            let rest = list.split_once("\"items\":").map_or("", |(_, items)| items.trim_start());
            let rest = rest.strip_prefix('[').unwrap_or("]}");
            let mut exchange = exchange.begin()?.write(br#"{"kind":"PodList","items":["#)?;
            for number in 0..7000 {
                exchange = exchange.write(other_pod(number).as_bytes())?;
            }
            exchange.write(rest.as_bytes()).map(drop)
        }
        ["endless"] => {
            let mut exchange = exchange.begin()?.write(br#"{"kind":"PodList","x":""#)?;
            loop {
                exchange = exchange.write("a".repeat(65_536).as_bytes())?;
            }
        }
        ["close"] => exchange.break_off(),
        ["nulls"] => exchange.answer(
            200,
            r#"{"kind":"PodList","metadata":null,"items":[null,{"metadata":null,"spec":null,"status":null},
               {"metadata":{"name":"n","namespace":null,"uid":"u","labels":null},"spec":null,"status":null}]}"#,
        ),
        [status] if status.parse::<u16>().is_ok() => exchange.answer(status.parse()?, ""),
        unknown => exchange.answer(500, &format!("the stand-in does not know the mode {unknown:?}")),
    }
}

/// About as long as a pod of two containers is.
fn other_pod(number: u32) -> String {
    let filler = "a".repeat(7000);
    format!(r#"{{"metadata":{{"name":"other-{number}","namespace":"x","uid":"{number}"}},"x":"{filler}"}},"#)
}
