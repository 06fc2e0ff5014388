//! The far end of a connection, for tests: a peer that does what a real one cannot be made to do.

use bitcoin::Txid;
use bitcoin::consensus::encode;
use bitcoin::p2p::message::{NetworkMessage, RawNetworkMessage};
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::p2p::message_network::VersionMessage;
use bitcoin::p2p::{Address, Magic, ServiceFlags};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

/// It speaks the transport of version 1 on regtest, by the crate `bitcoin`.
pub(in crate::broadcast) struct FarEnd {
    stream: DuplexStream,
    heard: Vec<u8>,
}

impl FarEnd {
    pub(in crate::broadcast) fn new(stream: DuplexStream) -> Self {
        Self {
            stream,
            heard: Vec::new(),
        }
    }

    /// The next message; `None` when the connection was closed.
    pub(in crate::broadcast) async fn next(&mut self) -> Option<NetworkMessage> {
        loop {
            let found: Result<(RawNetworkMessage, usize), _> =
                encode::deserialize_partial(&self.heard);
            if let Ok((message, length)) = found {
                self.heard.drain(..length);
                return Some(message.into_payload());
            }
            let mut buffer = [0; 1024];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.heard.extend(&buffer[..count]),
            }
        }
    }

    /// It may be closed already: that is what some tests are about.
    pub(in crate::broadcast) async fn say(&mut self, message: NetworkMessage) {
        let message = RawNetworkMessage::new(Magic::REGTEST, message);
        self.say_bytes(&encode::serialize(&message)).await;
    }

    pub(in crate::broadcast) async fn say_bytes(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).await);
    }

    /// Says its version, at this height.
    pub(in crate::broadcast) async fn say_version(&mut self, relay: bool, height: i32) {
        let nowhere = Address::new(&([0, 0, 0, 0], 0).into(), ServiceFlags::NONE);
        let services = ServiceFlags::NETWORK | ServiceFlags::WITNESS;
        let agent = "/far-end:1/".to_owned();
        let mut version =
            VersionMessage::new(services, 0, nowhere.clone(), nowhere, 1, agent, height);
        version.relay = relay;
        self.say(NetworkMessage::Version(version)).await;
    }

    /// Up to the announcement; the id that was announced.
    pub(in crate::broadcast) async fn shake_hands(&mut self) -> Option<Txid> {
        self.say_version(true, 1_000).await;
        self.say(NetworkMessage::Verack).await;
        loop {
            if let NetworkMessage::Inv(inventory) = self.next().await? {
                let [Inventory::Transaction(txid)] = inventory[..] else {
                    panic!("announced {inventory:?}");
                };
                return Some(txid);
            }
        }
    }

    /// Asks for a transaction.
    pub(in crate::broadcast) async fn ask_for(&mut self, txid: Txid) {
        let asked = vec![Inventory::Transaction(txid)];
        self.say(NetworkMessage::GetData(asked)).await;
    }

    /// Takes a transaction as an honest peer does, up to the end of the connection.
    pub(in crate::broadcast) async fn take(mut self) -> Option<bitcoin::Transaction> {
        let txid = self.shake_hands().await?;
        self.ask_for(txid).await;
        let NetworkMessage::Tx(transaction) = self.next().await? else {
            panic!("no transaction");
        };
        let NetworkMessage::Ping(nonce) = self.next().await? else {
            panic!("no ping");
        };
        self.say(NetworkMessage::Pong(nonce)).await;
        assert!(self.next().await.is_none(), "more after the pong");
        Some(transaction)
    }

    /// Listens until the connection is closed.
    pub(in crate::broadcast) async fn listen(&mut self) {
        while self.next().await.is_some() {}
    }
}
