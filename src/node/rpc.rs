//! Calls of the node: which ones there are, and a lane on which they are made.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitcoincore_rpc::{Client, RpcApi as _, jsonrpc};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::to_raw_value;

use super::auth::NodeAuth;
use super::permits::Permits;
use super::transport::{self, Failure, HttpTransport};
use super::{Error, NodeSettings};
use crate::limits;

/// Every question we put to the node. Nothing here changes the node or sends anything; what sends is a type of its
/// own, [`super::Sender`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `estimatesmartfee`
    EstimateSmartFee,
    /// `getblock`
    GetBlock,
    /// `getblockchaininfo`
    GetBlockchainInfo,
    /// `getblockhash`
    GetBlockHash,
    /// `getblockheader`
    GetBlockHeader,
    /// `getmempoolentry`
    GetMempoolEntry,
    /// `getmempoolinfo`
    GetMempoolInfo,
    /// `getnetworkinfo`
    GetNetworkInfo,
    /// `getrawmempool`
    GetRawMempool,
    /// `getrawtransaction`
    GetRawTransaction,
    /// `testmempoolaccept`
    TestMempoolAccept,
    /// `waitfornewblock`
    WaitForNewBlock,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::EstimateSmartFee,
        Self::GetBlock,
        Self::GetBlockchainInfo,
        Self::GetBlockHash,
        Self::GetBlockHeader,
        Self::GetMempoolEntry,
        Self::GetMempoolInfo,
        Self::GetNetworkInfo,
        Self::GetRawMempool,
        Self::GetRawTransaction,
        Self::TestMempoolAccept,
        Self::WaitForNewBlock,
    ];

    /// Whether it is asked for the sake of transactions that leave, and below protocol 1.7 for nothing else.
    pub const fn is_for_broadcast(self) -> bool {
        matches!(self, Self::GetMempoolEntry | Self::TestMempoolAccept)
    }

    /// The node's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EstimateSmartFee => "estimatesmartfee",
            Self::GetBlock => "getblock",
            Self::GetBlockchainInfo => "getblockchaininfo",
            Self::GetBlockHash => "getblockhash",
            Self::GetBlockHeader => "getblockheader",
            Self::GetMempoolEntry => "getmempoolentry",
            Self::GetMempoolInfo => "getmempoolinfo",
            Self::GetNetworkInfo => "getnetworkinfo",
            Self::GetRawMempool => "getrawmempool",
            Self::GetRawTransaction => "getrawtransaction",
            Self::TestMempoolAccept => "testmempoolaccept",
            Self::WaitForNewBlock => "waitfornewblock",
        }
    }

    /// The error code by which the node says that it has no such thing.
    const fn absence_code(self) -> i32 {
        match self {
            // "Block height out of range" is an invalid parameter.
            Self::GetBlockHash => -8,
            Self::EstimateSmartFee
            | Self::GetBlock
            | Self::GetBlockchainInfo
            | Self::GetBlockHeader
            | Self::GetMempoolEntry
            | Self::GetMempoolInfo
            | Self::GetNetworkInfo
            | Self::GetRawMempool
            | Self::GetRawTransaction
            | Self::TestMempoolAccept
            | Self::WaitForNewBlock => -5,
        }
    }
}

/// The name of a call, for an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call(pub(super) &'static str);

impl Call {
    /// The node's name for it.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl From<Method> for Call {
    fn from(method: Method) -> Self {
        Self(method.name())
    }
}

/// The node's refusal of a call. The reason is the node's own text, which may repeat what a client said: it is read
/// where a transaction is sent, and nowhere printed.
pub(super) struct RpcError {
    pub(super) code: i32,
    pub(super) reason: String,
}

impl RpcError {
    /// The node is loading.
    pub(super) const WARMING_UP: i32 = -28;
    /// There is no such call.
    pub(super) const METHOD_NOT_FOUND: i32 = -32601;

    /// Whether it speaks of the transaction handed over, as -22, -25, -26 and -27 do, and not of the node.
    pub(super) fn is_of_transaction(&self) -> bool {
        (-27..=-22).contains(&self.code)
    }
}

/// How a call went wrong: on the way, or in the node.
pub(super) enum CallError {
    Way(Error),
    Rpc(RpcError),
}

impl CallError {
    pub(super) fn into_error(self, call: Call) -> Error {
        match self {
            Self::Way(error) => error,
            Self::Rpc(error) => Error::of_rpc(&error, call),
        }
    }
}

/// One way to the node, with connections, a deadline and a bound of its own, so that one purpose cannot starve
/// another.
pub(super) struct Lane {
    address: SocketAddr,
    auth: NodeAuth,
    agent: ureq::Agent,
    permits: Permits,
    connection: Mutex<Option<Arc<Connection>>>,
}

/// What calls are made with as long as the node accepts its credentials.
struct Connection {
    client: Client,
    /// That of the client, for batches.
    transport: HttpTransport,
}

impl Lane {
    pub(super) fn new(settings: &NodeSettings, deadline: Duration, calls_max: usize) -> Self {
        Self {
            address: settings.address,
            auth: settings.auth.clone(),
            agent: transport::agent(settings.address, deadline, calls_max),
            permits: Permits::new(calls_max),
            connection: Mutex::new(None),
        }
    }

    /// Makes one call.
    pub(super) fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        arguments: &[Value],
    ) -> Result<T, Error> {
        self.call_by_name(method.into(), arguments)
            .map_err(|error| error.into_error(method.into()))
    }

    /// Makes one call; `Ok(None)` when the node says that it has no such block or transaction.
    pub(super) fn find<T: DeserializeOwned>(
        &self,
        method: Method,
        arguments: &[Value],
    ) -> Result<Option<T>, Error> {
        match self.call_by_name(method.into(), arguments) {
            Ok(found) => Ok(Some(found)),
            Err(CallError::Rpc(error)) if error.code == method.absence_code() => Ok(None),
            Err(error) => Err(error.into_error(method.into())),
        }
    }

    pub(super) fn call_by_name<T: DeserializeOwned>(
        &self,
        call: Call,
        arguments: &[Value],
    ) -> Result<T, CallError> {
        self.attempt(call, |connection| {
            let client = &connection.client;
            client.call(call.0, arguments).map_err(Fault::of)
        })
    }

    /// Makes one call for each of the argument lists, in one exchange, or in more when the answer is too large.
    /// `None` stands where the node says that it has no such block or transaction.
    pub(super) fn batch<T: DeserializeOwned>(
        &self,
        method: Method,
        arguments: &[Vec<Value>],
    ) -> Result<Vec<Option<T>>, Error> {
        match self.batch_within(method, arguments, limits::NODE_ANSWER_BYTES_MAX) {
            Err(Error::TooLarge { .. }) if arguments.len() > 1 => {
                let (head, tail) = arguments.split_at(arguments.len() / 2);
                let mut answers = self.batch(method, head)?;
                answers.extend(self.batch(method, tail)?);
                Ok(answers)
            }
            outcome => outcome,
        }
    }

    /// The same in one exchange, with so many bytes of answer at most.
    pub(super) fn batch_within<T: DeserializeOwned>(
        &self,
        method: Method,
        arguments: &[Vec<Value>],
        bytes_max: u64,
    ) -> Result<Vec<Option<T>>, Error> {
        if arguments.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self.attempt(method.into(), |connection| {
            connection.exchange(method, arguments, bytes_max)
        });
        let answers = answers.map_err(|error| error.into_error(method.into()))?;
        answers
            .into_iter()
            .map(|answer| understood(method, answer))
            .collect()
    }

    /// Ends the calls that are under way and all later ones with an error.
    pub(super) fn close(&self) {
        self.agent.clone().shutdown();
    }

    /// Runs an exchange, and once more with fresh credentials when those we had are refused.
    fn attempt<T>(
        &self,
        call: Call,
        exchange: impl Fn(&Connection) -> Result<T, Fault>,
    ) -> Result<T, CallError> {
        let _permit = self
            .permits
            .acquire(limits::NODE_TURN_MAX)
            .ok_or(CallError::Way(Error::Crowded { call }))?;
        let connection = self.connection(None).map_err(CallError::Way)?;
        let mut answer = exchange(&connection);
        if matches!(answer, Err(Fault::Way(Failure::Unauthorized))) {
            let renewed = self.connection(Some(&connection));
            let renewed = renewed.map_err(CallError::Way)?;
            answer = exchange(&renewed);
        }
        answer.map_err(|fault| match fault {
            Fault::Rpc(error) => CallError::Rpc(error),
            Fault::Way(failure) => CallError::Way(Error::of_failure(
                failure,
                call,
                self.address,
                self.auth.path().to_owned(),
            )),
        })
    }

    /// The connection, built when there is none or when it is the `refused` one.
    fn connection(&self, refused: Option<&Arc<Connection>>) -> Result<Arc<Connection>, Error> {
        let mut slot = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let usable = slot
            .as_ref()
            .filter(|usable| !refused.is_some_and(|refused| Arc::ptr_eq(usable, refused)));
        if let Some(usable) = usable {
            return Ok(Arc::clone(usable));
        }
        let authorization = self.auth.header()?;
        let transport = HttpTransport::new(self.agent.clone(), self.address, authorization);
        let client = jsonrpc::Client::with_transport(transport.clone());
        let client = Client::from_jsonrpc(client);
        let connection = Arc::new(Connection { client, transport });
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }
}

/// One answer of a batch. The library would keep the text of each until all are there.
#[derive(Deserialize)]
struct Answer<T> {
    id: usize,
    // Written out, because a derived bound would ask that `T` have a default.
    #[serde(default = "Option::default")]
    result: Option<T>,
    error: Option<jsonrpc::error::RpcError>,
}

impl Connection {
    /// The answers in the order of the questions.
    fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        arguments: &[Vec<Value>],
        bytes_max: u64,
    ) -> Result<Vec<Answer<T>>, Fault> {
        let arguments: Result<Vec<_>, _> = arguments.iter().map(to_raw_value).collect();
        let arguments = arguments.map_err(|_content| Fault::Way(Failure::Garbled))?;
        let requests: Vec<_> = arguments
            .iter()
            .enumerate()
            .map(|(id, arguments)| jsonrpc::Request {
                method: method.name(),
                params: Some(arguments),
                id: Value::from(id),
                jsonrpc: Some("2.0"),
            })
            .collect();
        let answers = self.transport.exchange(&requests, bytes_max);
        let mut answers: Vec<Answer<T>> = answers.map_err(Fault::Way)?;
        answers.sort_unstable_by_key(|answer| answer.id);
        let ids = answers.iter().map(|answer| answer.id);
        if ids.eq(0..requests.len()) {
            Ok(answers)
        } else {
            Err(Fault::Way(Failure::Garbled))
        }
    }
}

fn understood<T>(method: Method, answer: Answer<T>) -> Result<Option<T>, Error> {
    let call = method.into();
    match (answer.error, answer.result) {
        (Some(error), _) if error.code == method.absence_code() => Ok(None),
        (Some(error), _) => Err(Error::of_rpc(&error.into(), call)),
        (None, Some(found)) => Ok(Some(found)),
        (None, None) => Err(Error::Garbled { call }),
    }
}

impl From<jsonrpc::error::RpcError> for RpcError {
    fn from(error: jsonrpc::error::RpcError) -> Self {
        Self {
            code: error.code,
            reason: error.message,
        }
    }
}

/// What is kept of an error of the RPC crates, whose own text may carry content.
enum Fault {
    Way(Failure),
    Rpc(RpcError),
}

impl Fault {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "whatever else the crates report is an answer that cannot be understood"
    )]
    fn of(error: bitcoincore_rpc::Error) -> Self {
        match error {
            bitcoincore_rpc::Error::JsonRpc(jsonrpc::Error::Rpc(error)) => Self::Rpc(error.into()),
            bitcoincore_rpc::Error::JsonRpc(jsonrpc::Error::Transport(error)) => Self::Way(
                error
                    .downcast()
                    .map_or(Failure::Garbled, |failure| *failure),
            ),
            _ => Self::Way(Failure::Garbled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_method_changes_or_sends() {
        for method in Method::ALL {
            let reads = ["get", "estimate", "test", "waitfor"];
            assert!(reads.iter().any(|verb| method.name().starts_with(verb)));
        }
    }
}
