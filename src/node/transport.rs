//! HTTP to one fixed address, for JSON-RPC and for REST, with kept connections, a deadline and a cap on what is read.
//!
//! Nothing of a request or an answer is in an error of this file.

use std::io::{BufReader, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use bitcoincore_rpc::jsonrpc::{self, Request, Response, client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::{HeaderValue, Uri, header};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, config::Config};

use crate::limits;
use crate::secret::Secret;

/// Bytes of an answer that are read at a time.
const READ_BYTES: usize = 64 * 1024;

/// Why an HTTP exchange with the node gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("connection refused")]
    Refused,
    #[error("{0}")]
    Io(io::ErrorKind),
    #[error("no answer in time")]
    Silent,
    #[error("credentials refused (401)")]
    Unauthorized,
    #[error("forbidden (403)")]
    Forbidden,
    #[error("overloaded (503)")]
    Overloaded,
    #[error("HTTP status {0}")]
    Status(u16),
    #[error("answer too large")]
    TooLarge,
    #[error("not an answer that can be read")]
    Garbled,
}

/// An agent that can reach the node and nothing else: no DNS, no proxy, no redirect. It keeps so many connections.
pub(super) fn agent(address: SocketAddr, deadline: Duration, connections: usize) -> Agent {
    let config = Config::builder()
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent("")
        .timeout_global(Some(deadline))
        .timeout_connect(Some(limits::NODE_CONNECT_MAX))
        .max_idle_connections_per_host(connections)
        .build();
    Agent::with_parts(config, DefaultConnector::default(), Fixed(address))
}

/// Gets what is under `url`, without credentials, into `body`.
pub(super) fn fetch(
    agent: &Agent,
    url: &str,
    bytes_max: u64,
    body: &mut Vec<u8>,
) -> Result<(), Failure> {
    body.clear();
    let answer = agent.get(url).call().map_err(|error| failure(&error))?;
    match answer.status().as_u16() {
        200 => {}
        403 => return Err(Failure::Forbidden),
        503 => return Err(Failure::Overloaded),
        other => return Err(Failure::Status(other)),
    }
    let answer = answer.into_body().into_with_config().limit(bytes_max);
    let read = answer.reader().read_to_end(body);
    read.map_err(|error| failure(&error.into()))?;
    Ok(())
}

/// The transport of one JSON-RPC client, with the credentials of its time.
#[derive(Clone)]
pub(super) struct HttpTransport {
    agent: Agent,
    url: String,
    authorization: Arc<Secret>,
}

impl HttpTransport {
    pub(super) fn new(agent: Agent, address: SocketAddr, authorization: Secret) -> Self {
        Self {
            agent,
            url: format!("http://{address}/"),
            authorization: Arc::new(authorization),
        }
    }

    /// The answer is read as it comes: what it has beside `A` takes no memory, however long it is.
    pub(super) fn exchange<A: DeserializeOwned>(
        &self,
        request: &impl Serialize,
        bytes_max: u64,
    ) -> Result<A, Failure> {
        let body = serde_json::to_vec(request).map_err(|_content| Failure::Garbled)?;
        let mut authorization = HeaderValue::from_bytes(self.authorization.expose())
            .map_err(|_content| Failure::Unauthorized)?;
        authorization.set_sensitive(true);
        let answer = self
            .agent
            .post(&self.url)
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .send(body.as_slice())
            .map_err(|error| failure(&error))?;
        let status = answer.status().as_u16();
        match status {
            401 => return Err(Failure::Unauthorized),
            403 => return Err(Failure::Forbidden),
            503 => return Err(Failure::Overloaded),
            // The node answers some errors of JSON-RPC with 400, 404 or 500 and a body that tells more.
            _ => {}
        }
        let answer = answer.into_body().into_with_config().limit(bytes_max);
        let answer = BufReader::with_capacity(READ_BYTES, answer.reader());
        serde_json::from_reader(answer).map_err(|content| match status {
            _ if content.is_io() => failure(&io::Error::from(content).into()),
            200 => Failure::Garbled,
            other => Failure::Status(other),
        })
    }
}

impl client::Transport for HttpTransport {
    fn send_request(&self, request: Request<'_>) -> Result<Response, jsonrpc::Error> {
        let answer: Result<Response, Failure> =
            self.exchange(&request, limits::NODE_ANSWER_BYTES_MAX);
        answer
            .and_then(|answer| {
                if answer.id == request.id {
                    Ok(answer)
                } else {
                    Err(Failure::Garbled)
                }
            })
            .map_err(|failure| jsonrpc::Error::Transport(Box::new(failure)))
    }

    fn send_batch(&self, requests: &[Request<'_>]) -> Result<Vec<Response>, jsonrpc::Error> {
        self.exchange(&requests, limits::NODE_ANSWER_BYTES_MAX)
            .map_err(|failure| jsonrpc::Error::Transport(Box::new(failure)))
    }

    fn fmt_target(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("node")
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the foreign enum is non-exhaustive; what is not named is no answer in HTTP"
)]
fn failure(error: &ureq::Error) -> Failure {
    match error {
        ureq::Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => Failure::Refused,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Failure::Silent,
            kind => Failure::Io(kind),
        },
        ureq::Error::Timeout(_) => Failure::Silent,
        ureq::Error::ConnectionFailed => Failure::Refused,
        ureq::Error::BodyExceedsLimit(_) => Failure::TooLarge,
        _ => Failure::Garbled,
    }
}

/// Answers every question for a name with the node's address.
#[derive(Debug)]
struct Fixed(SocketAddr);

impl Resolver for Fixed {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}
