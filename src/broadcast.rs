//! How a transaction leaves.
//!
//! What a client is told is one of the fixed texts of [`Refusal`]; the node's own words never reach it.

mod admission;
mod conversation;
mod delivery;
mod dispatcher;
mod job;
mod own_node;
mod package;
mod peer;
mod pool;
mod queue;
mod quota;
mod refusal;
mod settings;
mod slot;
mod timing;
mod tor_peers;
mod transaction;
mod wire;

use std::pin::Pin;

use bitcoin::Txid;

pub use conversation::{Conversation, DeliveryEnd, Progress};
pub use delivery::{DialFailed, Dialer};
pub use dispatcher::Hindrance;
pub use own_node::OwnNode;
pub use package::{PackageMember, PackageRefusal, TakenPackage};
pub use peer::{Host, Peer, PeerAddress, PeerFault, PeerNetwork, Transport};
pub use pool::Networks;
pub use queue::Alarm;
pub use quota::Quota;
pub use refusal::Refusal;
pub use settings::{Method, Settings, UnknownMethod, UsablePeers};
pub use timing::{Between, Exponential, Timing};
pub use tor_peers::TorPeers;
pub use transaction::QueuedTransaction;

use crate::redact::RawTransaction;

/// Takes transactions that are to leave.
pub trait Broadcaster: Send + Sync {
    /// Judges a transaction, and takes it if it is new. Blocking. `quota` is what its session may still queue.
    fn take(&self, transaction: &RawTransaction, quota: &Quota) -> Result<Taken, Refusal>;

    /// Judges parents and, last, their child, and takes all of them or none. Blocking.
    fn take_package(
        &self,
        transactions: &[RawTransaction],
        quota: &Quota,
    ) -> Result<TakenPackage, PackageRefusal>;
}

/// A transaction that was taken: it is on its way, or was known before.
pub struct Taken {
    /// Its id, for the client.
    pub txid: Txid,
    /// What to wait for before the client is answered; `None` for a transaction that was known before.
    pub settled: Option<Settled>,
}

/// Ready when the network has the transaction, or when it is time to answer all the same.
pub type Settled = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes nothing: for sessions without a way out.
pub struct NotReady;

impl Broadcaster for NotReady {
    fn take(&self, transaction: &RawTransaction, _quota: &Quota) -> Result<Taken, Refusal> {
        admission::decoded(transaction)?;
        Err(Refusal::NotReady)
    }

    fn take_package(
        &self,
        transactions: &[RawTransaction],
        _quota: &Quota,
    ) -> Result<TakenPackage, PackageRefusal> {
        package::package(transactions)?;
        Err(PackageRefusal::NotTaken(Refusal::NotReady))
    }
}
