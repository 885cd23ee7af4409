//! A running agent is asked. Its part is played by a script: what is tested is the command's.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use oomwatch_tests::deadline::{PATIENCE, wait_for};
use serde_json::{Value, json};

use super::{
    follower::Follower,
    shared::{command, golden, id, ids, named, run, text},
};

/// What a stand-in for an agent answers, request by request, and what it was asked.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<Value>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    fn answer(&self, answer: Value) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push_back(answer);
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers as many requests as there are answers, and then closes the port.
    fn serve(&self, listener: TcpListener) {
        let script = self.clone();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let answer = script.answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(answer) = answer else { break };
                script.one(stream, &answer).unwrap();
            }
        });
    }

    fn one(&self, mut stream: TcpStream, answer: &Value) -> Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().context("no request")??;
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(first);
        let (status, body) = match answer {
            Value::String(status) => (status.clone(), "no such\u{1b} thing".to_owned()),
            page => ("200 OK".to_owned(), serde_json::to_string_pretty(page)?),
        };
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
        Ok(())
    }
}

fn page(numbers: impl IntoIterator<Item = usize>, next: Option<&str>) -> Result<Value> {
    let reports = golden()?;
    let incidents: Vec<Value> = numbers.into_iter().map(|number| reports[number].clone()).collect();
    Ok(next.map_or_else(
        || json!({ "incidents": incidents }),
        |next| json!({ "incidents": incidents, "next": next }),
    ))
}

#[test]
fn an_agent_is_asked_page_by_page() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let script = Script::default();
    script.answer(page([3, 2], Some("x-1"))?);
    script.answer(page([1], Some("x-2"))?);
    script.answer(page([], None)?);
    script.answer(json!("404 Not Found"));
    script.answer(json!({ "something": "else" }));
    script.serve(listener);
    let url = format!("http://{address}");
    let shown = run(&["--url", &url, "--limit", "9", "--pod", "a/b", "--output", "json"])?;
    ensure!(ids(&text(&shown.stdout))? == named([1, 2, 3]), "{}", text(&shown.stderr));
    let asked = script.asked();
    let first = "GET /api/v1/incidents?order=desc&limit=9&namespace=a&pod=b HTTP/1.1";
    let second = "GET /api/v1/incidents?order=desc&limit=7&namespace=a&pod=b&cursor=x-1 HTTP/1.1";
    ensure!(asked.first().is_some_and(|line| line == first), "{asked:?}");
    ensure!(asked.get(1).is_some_and(|line| line == second), "{asked:?}");

    for says in ["answered 404 Not Found: no such\\x1b thing", "answered what is no page"] {
        // As in the agent's own pod.
        let refused = command(&[])?.env("OOMWATCH_LISTEN", &address).output()?;
        let why = text(&refused.stderr);
        ensure!(refused.status.code() == Some(1) && why.contains(says), "{why}");
    }
    Ok(())
}

#[test]
fn following_an_agent_outlives_its_restart() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let script = Script::default();
    script.answer(page([], Some("end"))?);
    // One came between the two questions: it is in both answers, and printed once.
    script.answer(page([1, 0], None)?);
    script.answer(page([1, 2], Some("later"))?);
    script.serve(listener);
    let mut follower = Follower::start(&["--url", &format!("http://{address}"), "-f", "--output", "json"])?;
    let printed = [follower.next()?, follower.next()?, follower.next()?];
    ensure!(ids(&printed.join("\n"))? == named(0..3), "{printed:?}");
    let gone = follower.said()?;
    ensure!(gone.ends_with("; trying again"), "{gone}");
    let listener = wait_for("the port", PATIENCE, || Ok(TcpListener::bind(address).ok()))?;
    script.answer(page([3], Some("last"))?);
    for _ in 0..200 {
        script.answer(page([], Some("last"))?);
    }
    script.serve(listener);
    ensure!(id(&follower.next()?)? == "b-3");
    let back = follower.said()?;
    ensure!(back.ends_with("can be read again"), "{back}");
    let asked = script.asked();
    ensure!(asked.iter().any(|line| line.contains("order=asc") && line.contains("cursor=end")), "{asked:?}");
    ensure!(asked.iter().any(|line| line.contains("cursor=later")), "{asked:?}");
    follower.interrupt()
}
