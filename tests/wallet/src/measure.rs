//! Times of connections and of round trips.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use electrum_client::{ClientType, ElectrumApi as _};
use serde_json::json;

use crate::Way;
use crate::report::milliseconds;

/// All at once: time until each has its version and a pong, in the order of the connections.
pub(crate) fn burst(way: &Way, count: usize) -> Result<()> {
    let start = Barrier::new(count);
    let visit = |number: usize| -> Result<Duration> {
        start.wait();
        let started = Instant::now();
        let client = way.connect(&format!("{}-{number}", way.user))?;
        pong(&client)?;
        Ok(started.elapsed())
    };
    let results: Vec<Result<Duration>> = std::thread::scope(|scope| {
        let visit = &visit;
        let clients: Vec<_> = (0..count)
            .map(|number| scope.spawn(move || visit(number)))
            .collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client panicked"))
            .collect()
    });
    let failures: Vec<_> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .map(|e| format!("{e:#}"))
        .collect();
    let times: Vec<_> = results
        .iter()
        .filter_map(|result| result.as_ref().ok())
        .copied()
        .collect();
    tell(way, "burst", &times, &failures);
    anyhow::ensure!(
        failures.is_empty(),
        "{} of {count} connections failed: {}",
        failures.len(),
        failures[0]
    );
    Ok(())
}

/// One after the other on one connection.
pub(crate) fn ping(way: &Way, count: usize) -> Result<()> {
    let client = way.connect(&way.user)?;
    let mut times = Vec::new();
    for _ in 0..count {
        let started = Instant::now();
        pong(&client)?;
        times.push(started.elapsed());
    }
    tell(way, "ping", &times, &[]);
    Ok(())
}

fn pong(client: &ClientType) -> Result<()> {
    match client {
        ClientType::TCP(client) => client.ping(),
        ClientType::Socks5(client) => client.ping(),
    }
    .context("failed to ping")
}

fn tell(way: &Way, step: &str, times: &[Duration], failures: &[String]) {
    let all: Vec<f64> = times.iter().copied().map(milliseconds).collect();
    if way.json {
        println!(
            "{}",
            json!({ "step": step, "milliseconds": all, "failures": failures })
        );
        return;
    }
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = |part: usize| {
        sorted
            .get((sorted.len() * part / 100).min(sorted.len().saturating_sub(1)))
            .copied()
    };
    let text = |part| {
        at(part).map_or_else(
            || "-".to_owned(),
            |time| format!("{:.1} ms", milliseconds(time)),
        )
    };
    println!(
        "{step}: {} done, median {}, 90 % {}, slowest {}",
        sorted.len(),
        text(50),
        text(90),
        text(100)
    );
}
