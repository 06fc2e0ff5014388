//! A transaction leaves by a few peers of the network, each over circuits of its own.

use std::io;
use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use zeroize::Zeroizing;

use super::admission::Admission;
use super::delivery::Dialer;
use super::dispatcher::{Dispatcher, Hindrance};
use super::peer::Host;
use super::queue::Alarm;
use super::timing::Timing;
use super::{Broadcaster, PackageRefusal, Quota, Refusal, Settings, Taken, TakenPackage};
use crate::chain::Network;
use crate::node::Judge;
use crate::redact::RawTransaction;

/// Gives transactions to peers over Tor. The node judges them and is looked at for their return; it never sends them.
pub struct TorPeers {
    admission: Admission,
}

impl TorPeers {
    /// Begins with nothing on its way; within a tokio runtime.
    ///
    /// `own` are hosts that are never given a transaction, beside those that the node says are its own: there it
    /// would begin its way through the network at home. Fails when the system gives no random numbers.
    pub fn start(
        settings: Settings,
        network: Network,
        own: Vec<Host>,
        timing: Timing,
        judge: Judge,
        dialer: impl Dialer,
    ) -> io::Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(io::Error::other)?;
        let random = StdRng::from_seed(*seed);
        let judge = Arc::new(judge);
        let fee_rate_max = settings.fee_rate_max;
        let dispatcher = Dispatcher::start(
            settings,
            network,
            own,
            timing,
            Arc::<Judge>::clone(&judge),
            dialer,
            random,
        );
        Ok(Self {
            admission: Admission::new(judge, fee_rate_max, dispatcher),
        })
    }

    /// Whether a transaction handed over now would leave.
    pub fn readiness(&self) -> Result<(), Hindrance> {
        self.admission.dispatcher().readiness()
    }

    /// What needs the operator.
    pub fn alarm(&self) -> Option<Alarm> {
        self.admission.dispatcher().alarm()
    }

    /// Ends: whatever has not come back by then is forgotten.
    pub async fn stop(&self) {
        self.admission.dispatcher().stop().await;
    }
}

impl Broadcaster for TorPeers {
    fn take(&self, transaction: &RawTransaction, quota: &Quota) -> Result<Taken, Refusal> {
        self.admission.take(transaction, quota)
    }

    fn take_package(
        &self,
        transactions: &[RawTransaction],
        quota: &Quota,
    ) -> Result<TakenPackage, PackageRefusal> {
        self.admission.take_package(transactions, quota)
    }
}
