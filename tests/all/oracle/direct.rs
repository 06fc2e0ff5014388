//! The index alone, asked without sessions. Its outpoint tags are so short that they collide, and its keys are known,
//! so that two indexes can be compared by their digests.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use claustrum::chain::{Network, ScriptHash};
use claustrum::index::{Digests, Extent, Index, Keys, Options, Shape};
use claustrum::limits;
use claustrum::node::{BlockFiles, Node, NodeAuth, NodeSettings};
use claustrum::query::{self, Answer, Query, Readiness, SessionMemo, View};
use claustrum::sync::{BulkSettings, Follower};
use rig::oracle::{Entry, Script, Scripts, Unspent};
use serde_json::json;
use tempfile::TempDir;

use super::comparison::{self, Verdict};

const OPTIONS: Options = Options {
    keys: Some(Keys {
        script: [1; 16],
        outpoint: [2; 16],
        txid: [3; 16],
    }),
    tag_bits: 4,
    shape: Shape {
        delta_blocks: 16,
        segment_blocks: 12,
        ratio: 2,
        levels: 2,
        shard_bits: 2,
        merges_at_once: false,
    },
};
/// Less than can be set: room for some 850 transactions at a time.
const SCARCE_BYTES: usize = 4_000;
const READY: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// How blocks come into an index that is far behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    BlockByBlock,
    BulkByFiles,
    /// With so little memory that it takes several bulks.
    BulkInParts,
    BulkByRest,
    BulkAsJson,
}

/// An index that follows a node.
pub(super) struct Direct {
    dir: TempDir,
    settings: NodeSettings,
    bulk: BulkSettings,
    running: Option<Running>,
}

struct Running {
    node: Arc<Node>,
    /// Of all that was asked since the start.
    memo: SessionMemo,
    follower: Follower,
    view: Arc<Mutex<Option<View>>>,
}

impl Direct {
    /// An empty index that begins to follow, block by block.
    pub(super) fn start(node: &rig::node::Node) -> Result<Self> {
        Self::start_by(node, Way::BlockByBlock)
    }

    /// An empty index that begins to follow in this way.
    pub(super) fn start_by(node: &rig::node::Node, way: Way) -> Result<Self> {
        Self::start_through(node, &node.rpc_address(), way)
    }

    /// The same, reaching the node at another address.
    pub(super) fn start_through(node: &rig::node::Node, address: &str, way: Way) -> Result<Self> {
        let settings = NodeSettings {
            address: address.parse()?,
            auth: NodeAuth::cookie_file(node.cookie().clone()),
            network: Network::Regtest,
        };
        let dir = tempfile::tempdir()?;
        let files = node.data_dir().join("regtest/blocks");
        let by_files = matches!(way, Way::BulkByFiles | Way::BulkInParts);
        let mut direct = Self {
            bulk: BulkSettings {
                block_files: by_files.then_some(files),
                rest: way == Way::BulkByRest,
                jobs: NonZeroUsize::new(2).context("two threads")?,
                memory_bytes: if way == Way::BulkInParts {
                    SCARCE_BYTES
                } else {
                    limits::SYNC_MEMORY_BYTES_MIN
                },
                blocks_min: if way == Way::BlockByBlock {
                    u32::MAX
                } else {
                    1
                },
                distance: OPTIONS.shape.delta_blocks,
                working_dir: dir.path().join("bulk"),
            },
            dir,
            settings,
            running: None,
        };
        direct.start_again()?;
        Ok(direct)
    }

    pub(super) fn start_again(&mut self) -> Result<()> {
        let node = Arc::new(Node::new(&self.settings));
        let view = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&view);
        let publish = move |view| *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(view);
        let follower = Follower::launch(
            &node,
            self.open()?,
            self.bulk.clone(),
            Box::new(publish),
            Box::new(drop),
        )?;
        self.running = Some(Running {
            node,
            memo: SessionMemo::keeping(1),
            follower,
            view,
        });
        Ok(())
    }

    pub(super) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.follower.stop();
        }
    }

    /// To be called while it does not run.
    pub(super) fn digests(&self) -> Result<Digests> {
        Ok(self.open()?.digest()?)
    }

    /// Reads all of it, and all that it has in the node's files; to be called while it does not run.
    pub(super) fn check(&self) -> Result<()> {
        let mut index = self.open()?;
        if let Some(dir) = &self.bulk.block_files {
            index.read_from(Arc::new(BlockFiles::open(dir, Network::Regtest)?))?;
        }
        let checked = index.check(Extent::Full)?;
        ensure!(checked.compared == checked.transactions, "{checked:?}");
        Ok(())
    }

    /// Waits until it stands where the node stands.
    pub(super) fn assert_at_tip(&self, node: &rig::node::Node) -> Result<()> {
        self.assert_equal(node, &Scripts::default())
    }

    /// Waits until it stands where the node stands, and holds its answers about every script against `expected`.
    pub(super) fn assert_equal(&self, node: &rig::node::Node, expected: &Scripts) -> Result<()> {
        let best = node.rpc("getbestblockhash", json!([]))?;
        let asked = comparison::asked(expected)?;
        let running = self.running.as_ref().context("it does not run")?;
        let deadline = Instant::now() + READY;
        loop {
            let view = running
                .view
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let view = view.filter(|view| {
                view.readiness == Readiness::Ready
                    && view.tip().is_some_and(|tip| tip.hash.to_string() == best)
            });
            if let Some(view) = view {
                let found: Result<Vec<_>> =
                    asked.iter().map(|hash| running.ask(&view, hash)).collect();
                match comparison::judge(expected, &asked, &found?) {
                    Verdict::Equal => return Ok(()),
                    Verdict::Unconfirmed(_) if Instant::now() < deadline => {}
                    Verdict::Unconfirmed(text) | Verdict::Different(text) => bail!(text),
                }
            }
            ensure!(Instant::now() < deadline, "it does not reach the tip");
            std::thread::sleep(POLL);
        }
    }

    fn open(&self) -> Result<Index> {
        Ok(Index::open_with(
            self.dir.path(),
            Network::Regtest,
            &OPTIONS,
        )?)
    }
}

impl Running {
    fn ask(&self, view: &View, hash: &str) -> Result<Script> {
        let hash = ScriptHash::from_wire(hash).context("no script hash")?;
        let script = script(hash, |query| query::answer(view, &*self.node, query))?;
        let kept = self::script(hash, |query| self.memo.answer(view, &*self.node, query))?;
        ensure!(kept == script, "what was kept led to another answer");
        Ok(script)
    }
}

/// Everything that is to be known of a script.
fn script(
    hash: ScriptHash,
    ask: impl Fn(&Query) -> Result<Answer, query::Error>,
) -> Result<Script> {
    let mut script = Script::default();
    for query in [
        Query::History(hash),
        Query::Unspent(hash),
        Query::Balance(hash),
        Query::Status(hash),
    ] {
        enter(&mut script, ask(&query)?)?;
    }
    Ok(script)
}

/// Writes an answer down as the oracle does.
fn enter(script: &mut Script, answer: Answer) -> Result<()> {
    match answer {
        Answer::History(rows) => {
            let rows = rows.iter().map(|row| Entry {
                txid: row.txid.to_string(),
                height: row.height.to_wire(),
                fee: row.fee,
            });
            script.history = rows.collect();
        }
        Answer::Unspent(rows) => {
            let rows = rows.iter().map(|row| Unspent {
                txid: row.txid.to_string(),
                vout: row.vout.into(),
                height: row.height.map_or(0, |height| height.0.into()),
                value: row.value,
            });
            script.unspent = rows.collect();
        }
        Answer::Balance {
            confirmed,
            unconfirmed,
        } => {
            (script.confirmed, script.unconfirmed) = (confirmed, unconfirmed);
        }
        Answer::Status(status) => {
            script.status = status.map_or_else(String::new, |status| status.to_wire());
        }
        Answer::AcceptTests(_)
        | Answer::Fee(_)
        | Answer::FeeHistogram(_)
        | Answer::Header { .. }
        | Answer::Headers { .. }
        | Answer::Merkle { .. }
        | Answer::MempoolFees(_)
        | Answer::Outpoint(_)
        | Answer::Recent(_)
        | Answer::Tip { .. }
        | Answer::Transaction(_)
        | Answer::TransactionAt { .. }
        | Answer::WholeTransaction(_) => bail!("an answer to another question"),
    }
    Ok(())
}
