//! JSON-RPC over HTTP, to a node or to a wallet's daemon.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

/// Above the longest thing tests ask for: thousands of blocks at once.
const DEADLINE: Duration = Duration::from_secs(120);
const REPLY_BYTES_MAX: u64 = 1 << 30;

/// A way to an RPC port.
#[derive(Clone, Debug)]
pub struct Rpc {
    agent: ureq::Agent,
    port: u16,
    cookie: PathBuf,
}

impl Rpc {
    /// To the port on this machine, with the password in `cookie`.
    pub fn new(port: u16, cookie: PathBuf) -> Self {
        let config = ureq::Agent::config_builder()
            // A machine's proxy setting must not carry this off.
            .proxy(None)
            // Errors come as JSON with status 500.
            .http_status_as_error(false)
            .timeout_global(Some(DEADLINE))
            .build();
        Self {
            agent: config.into(),
            port,
            cookie,
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The file with the password.
    pub fn cookie(&self) -> &PathBuf {
        &self.cookie
    }

    /// A call; an error of the node is an error here. `path` is `/`, or `/wallet/NAME`.
    pub fn call(&self, path: &str, method: &str, params: &Value) -> Result<Value> {
        let request = json!({ "jsonrpc": "1.0", "id": 0, "method": method, "params": params });
        result(method, &mut self.post(path, method, &request)?)
    }

    /// The same call with each of `params`, in one request; the results in the same order.
    pub(crate) fn batch(&self, method: &str, params: &[Value]) -> Result<Vec<Value>> {
        let request = |(id, params)| json!({ "jsonrpc": "1.0", "id": id, "method": method, "params": params });
        let requests: Vec<Value> = params.iter().enumerate().map(request).collect();
        let mut replies = self.post("/", method, &Value::from(requests))?;
        let replies = replies
            .as_array_mut()
            .with_context(|| format!("no list of results of {method}"))?;
        replies.sort_by_key(|reply| reply["id"].as_u64());
        replies
            .iter_mut()
            .map(|reply| result(method, reply))
            .collect()
    }

    fn post(&self, path: &str, method: &str, body: &Value) -> Result<Value> {
        let attempt = || format!("failed to call {method}");
        let cookie = std::fs::read_to_string(&self.cookie).with_context(attempt)?;
        let text = self
            .agent
            .post(format!("http://127.0.0.1:{}{path}", self.port))
            .header("Authorization", format!("Basic {}", BASE64.encode(cookie)))
            .send(body.to_string())
            .and_then(|mut reply| {
                reply
                    .body_mut()
                    .with_config()
                    .limit(REPLY_BYTES_MAX)
                    .read_to_string()
            })
            .with_context(attempt)?;
        serde_json::from_str(&text).with_context(attempt)
    }
}

fn result(method: &str, reply: &mut Value) -> Result<Value> {
    anyhow::ensure!(reply["error"].is_null(), "{method}: {}", reply["error"]);
    Ok(reply["result"].take())
}
