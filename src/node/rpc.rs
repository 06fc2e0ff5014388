//! Calls of the node: which ones there are, and a lane on which they are made.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitcoincore_rpc::{Client, RpcApi as _, jsonrpc};
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
    client: Mutex<Option<Arc<Client>>>,
}

impl Lane {
    pub(super) fn new(settings: &NodeSettings, deadline: Duration, calls_max: usize) -> Self {
        Self {
            address: settings.address,
            auth: settings.auth.clone(),
            agent: transport::agent(settings.address, deadline, calls_max),
            permits: Permits::new(calls_max),
            client: Mutex::new(None),
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
        self.attempt(call, |client| {
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
        if arguments.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self.attempt(method.into(), |client| {
            exchange(client.get_jsonrpc_client(), method, arguments)
        });
        match answers {
            Ok(answers) => answers
                .into_iter()
                .map(|answer| understood(method, &answer))
                .collect(),
            Err(CallError::Way(Error::TooLarge { .. })) if arguments.len() > 1 => {
                let (head, tail) = arguments.split_at(arguments.len() / 2);
                let mut answers = self.batch(method, head)?;
                answers.extend(self.batch(method, tail)?);
                Ok(answers)
            }
            Err(error) => Err(error.into_error(method.into())),
        }
    }

    /// Ends the calls that are under way and all later ones with an error.
    pub(super) fn close(&self) {
        self.agent.clone().shutdown();
    }

    /// Runs an exchange, and once more with fresh credentials when those we had are refused.
    fn attempt<T>(
        &self,
        call: Call,
        exchange: impl Fn(&Client) -> Result<T, Fault>,
    ) -> Result<T, CallError> {
        let _permit = self
            .permits
            .acquire(limits::NODE_TURN_MAX)
            .ok_or(CallError::Way(Error::Crowded { call }))?;
        let client = self.client(None).map_err(CallError::Way)?;
        let mut answer = exchange(&client);
        if matches!(answer, Err(Fault::Way(Failure::Unauthorized))) {
            let renewed = self.client(Some(&client)).map_err(CallError::Way)?;
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

    /// The client, built when there is none or when it is the `refused` one.
    fn client(&self, refused: Option<&Arc<Client>>) -> Result<Arc<Client>, Error> {
        let mut slot = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = slot
            .as_ref()
            .filter(|client| !refused.is_some_and(|refused| Arc::ptr_eq(client, refused)));
        if let Some(client) = usable {
            return Ok(Arc::clone(client));
        }
        let authorization = self.auth.header()?;
        let transport = HttpTransport::new(self.agent.clone(), self.address, authorization);
        let client = jsonrpc::Client::with_transport(transport);
        let client = Arc::new(Client::from_jsonrpc(client));
        *slot = Some(Arc::clone(&client));
        Ok(client)
    }
}

fn exchange(
    client: &jsonrpc::Client,
    method: Method,
    arguments: &[Vec<Value>],
) -> Result<Vec<jsonrpc::Response>, Fault> {
    let arguments: Result<Vec<_>, _> = arguments.iter().map(to_raw_value).collect();
    let arguments = arguments.map_err(|_content| Fault::Way(Failure::Garbled))?;
    let requests: Vec<_> = arguments
        .iter()
        .map(|arguments| client.build_request(method.name(), Some(arguments)))
        .collect();
    let answers = client
        .send_batch(&requests)
        .map_err(|error| Fault::of(error.into()))?;
    let answers: Option<Vec<_>> = answers.into_iter().collect();
    answers.ok_or(Fault::Way(Failure::Garbled))
}

fn understood<T: DeserializeOwned>(
    method: Method,
    answer: &jsonrpc::Response,
) -> Result<Option<T>, Error> {
    match answer.result() {
        Ok(found) => Ok(Some(found)),
        Err(error) => match Fault::of(error.into()) {
            Fault::Rpc(error) if error.code == method.absence_code() => Ok(None),
            Fault::Rpc(error) => Err(Error::of_rpc(&error, method.into())),
            Fault::Way(_) => Err(Error::Garbled {
                call: method.into(),
            }),
        },
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
            bitcoincore_rpc::Error::JsonRpc(jsonrpc::Error::Rpc(error)) => Self::Rpc(RpcError {
                code: error.code,
                reason: error.message,
            }),
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
