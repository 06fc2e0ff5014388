//! What becomes of a transaction that a session hands over, judged by a real node; no peer can be reached.

mod families;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bitcoin::consensus::encode;
use bitcoin::hashes::{Hash as _, HashEngine as _, Hmac, HmacEngine, sha256};
use bitcoin::script::Builder;
use bitcoin::{
    Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, WScriptHash, Witness,
    absolute, opcodes, transaction,
};
use claustrum::broadcast::{
    Broadcaster as _, DialFailed, Dialer, PeerAddress, Quota, Refusal, Settings, Taken, Timing,
    TorPeers,
};
use claustrum::chain::Network;
use claustrum::node::{FeeRate, Judge, Judgement, NodeAuth, NodeSettings, Sender};
use claustrum::redact::RawTransaction;
use rig::node::{Node, Options};
use serde_json::{Value, json};
use tokio::io::DuplexStream;

const READY: Duration = Duration::from_secs(30);
const COIN: u64 = 5_000_000_000;

/// Reaches nobody, and counts.
struct Nobody(Arc<AtomicUsize>);

impl Dialer for Nobody {
    type Stream = DuplexStream;

    async fn dial(&self, _: &PeerAddress) -> Result<DuplexStream, DialFailed> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(DialFailed)
    }

    fn is_ready(&self) -> bool {
        true
    }
}

/// A broadcaster beside a node.
struct Bench {
    node: Node,
    broadcaster: TorPeers,
    dials: Arc<AtomicUsize>,
    /// Outputs of the node's wallet that may be spent, of one [`COIN`] each.
    coins: Vec<OutPoint>,
}

impl Bench {
    async fn start(extra: &[&str]) -> Result<Self> {
        Self::start_waiting(extra, Duration::ZERO).await
    }

    /// Clients wait so long for an answer.
    async fn start_waiting(extra: &[&str], answer_wait: Duration) -> Result<Self> {
        let node = Node::start_funded(&Options {
            extra: extra.iter().map(|&argument| argument.to_owned()).collect(),
            ..Options::default()
        })?;
        let peer = |number: u8| Ok(format!("127.{number}.0.1:18444").parse()?);
        let settings = Settings {
            peers: (1..=30).map(peer).collect::<Result<_>>()?,
            answer_wait,
            ..Settings::default()
        };
        let dials = Arc::new(AtomicUsize::new(0));
        let broadcaster = TorPeers::start(
            settings,
            Network::Regtest,
            Vec::new(),
            Timing::standard(),
            Judge::new(&settings_of(&node)?),
            Nobody(Arc::clone(&dials)),
        )?;
        let deadline = Instant::now() + READY;
        while let Err(hindrance) = broadcaster.readiness() {
            ensure!(Instant::now() < deadline, "{}", hindrance.text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let unspent = node.wallet_rpc("listunspent", json!([]))?;
        let coin = |found: &Value| -> Result<OutPoint> {
            let vout = found["vout"].as_u64().context("no vout")?;
            let txid = found["txid"].as_str().context("no txid")?;
            Ok(OutPoint::new(txid.parse()?, u32::try_from(vout)?))
        };
        let coins = unspent.as_array().context("no list")?;
        let coins = coins.iter().map(coin).collect::<Result<_>>()?;
        Ok(Self {
            node,
            broadcaster,
            dials,
            coins,
        })
    }

    fn coin(&mut self) -> Result<OutPoint> {
        self.coins.pop().context("no coin is left")
    }

    /// A transaction that spends these and pays its only output to the wallet, unsigned.
    fn spending(&self, coins: &[OutPoint], fee: u64) -> Result<Transaction> {
        let script = ScriptBuf::from_hex(&self.node.script(&self.node.new_address()?)?)?;
        let total = u64::try_from(coins.len())? * COIN;
        let input = |coin: &OutPoint| TxIn {
            previous_output: *coin,
            script_sig: ScriptBuf::new(),
            sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
            witness: Witness::new(),
        };
        Ok(Transaction {
            version: transaction::Version::TWO,
            lock_time: absolute::LockTime::ZERO,
            input: coins.iter().map(input).collect(),
            output: vec![TxOut {
                value: Amount::from_sat(total.checked_sub(fee).context("a fee too high")?),
                script_pubkey: script,
            }],
        })
    }

    fn signed(&self, transaction: &Transaction) -> Result<Transaction> {
        let raw = json!([encode::serialize_hex(transaction)]);
        let answer = self.node.wallet_rpc("signrawtransactionwithwallet", raw)?;
        let hex = answer["hex"].as_str().context("no transaction")?;
        Ok(encode::deserialize_hex(hex)?)
    }

    /// A payment that nobody has anything against.
    fn payment(&mut self) -> Result<Transaction> {
        let coin = self.coin()?;
        self.signed(&self.spending(&[coin], 1_000)?)
    }

    fn take(&self, transaction: &Transaction) -> Result<Taken, Refusal> {
        let raw = RawTransaction::new(encode::serialize(transaction));
        self.broadcaster.take(&raw, &Quota::new())
    }

    fn dials(&self) -> usize {
        self.dials.load(Ordering::Relaxed)
    }

    /// Signed after a change, it is refused so.
    fn assert_refused(
        &mut self,
        refusal: Refusal,
        fee: u64,
        change: impl FnOnce(&mut Transaction),
    ) -> Result<()> {
        let coin = self.coin()?;
        let mut transaction = self.spending(&[coin], fee)?;
        change(&mut transaction);
        let transaction = self.signed(&transaction)?;
        // What was not taken leaves its coin to others.
        self.coins.push(coin);
        self.assert_answer(&transaction, refusal)
    }

    fn assert_answer(&self, transaction: &Transaction, refusal: Refusal) -> Result<()> {
        let answer = self.take(transaction).err();
        ensure!(answer == Some(refusal), "{answer:?} instead of {refusal:?}");
        Ok(())
    }
}

fn settings_of(node: &Node) -> Result<NodeSettings> {
    Ok(NodeSettings {
        address: node.rpc_address().parse()?,
        auth: NodeAuth::cookie_file(node.cookie().clone()),
        network: Network::Regtest,
    })
}

fn output(value: u64, script_pubkey: ScriptBuf) -> TxOut {
    TxOut {
        value: Amount::from_sat(value),
        script_pubkey,
    }
}

/// OP_RETURN and a push of so many bytes.
fn data(length: usize) -> ScriptBuf {
    ScriptBuf::new_op_return(bitcoin::script::PushBytesBuf::try_from(vec![7; length]).unwrap())
}

/// The same transaction with another witness: under the same id.
fn malleated(transaction: &Transaction) -> Transaction {
    let mut other = transaction.clone();
    let mut witness = other.input[0].witness.to_vec();
    let last = witness[0].len() - 2;
    witness[0][last] ^= 1;
    other.input[0].witness = Witness::from_slice(&witness);
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_is_answered_at_once_and_nothing_is_started_for_it() -> Result<()> {
    let mut bench = Bench::start(&[]).await?;
    let in_mempool = bench.payment()?;
    bench.node.send(&encode::serialize_hex(&in_mempool))?;
    let mined = bench.payment()?;
    let address = bench.node.new_address()?;
    bench
        .node
        .mine_block(&address, &[encode::serialize_hex(&mined)])?;
    for known in [&in_mempool, &malleated(&in_mempool), &mined] {
        let taken = bench
            .take(known)
            .map_err(|refusal| anyhow::anyhow!(refusal.text()))?;
        ensure!(taken.txid == known.compute_txid() && taken.settled.is_none());
    }
    tokio::time::sleep(first_start()).await;
    ensure!(bench.dials() == 0, "it was started");

    let new = bench.payment()?;
    ensure!(bench.take(&new).is_ok_and(|taken| taken.settled.is_some()));
    for again in [&new, &malleated(&new)] {
        let taken = bench
            .take(again)
            .map_err(|refusal| anyhow::anyhow!(refusal.text()))?;
        ensure!(taken.txid == new.compute_txid() && taken.settled.is_none());
    }
    // It left for peers, and not by the node.
    let deadline = Instant::now() + READY;
    while bench.dials() == 0 {
        ensure!(Instant::now() < deadline, "nobody was dialled");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let txid = new.compute_txid().to_string();
    ensure!(!bench.node.mempool()?.contains(&txid), "the node has it");
    Ok(())
}

/// By then the first delivery has begun, if there is one.
fn first_start() -> Duration {
    claustrum::limits::SLOT_START_MAX + Duration::from_millis(500)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_answered_when_its_transaction_is_back() -> Result<()> {
    let mut bench = Bench::start_waiting(&[], READY * 10).await?;
    let payment = bench.payment()?;
    let taken = bench.take(&payment).ok();
    let settled = taken.and_then(|taken| taken.settled).context("not taken")?;
    let settled = tokio::spawn(settled);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    ensure!(!settled.is_finished(), "answered before it is back");
    bench.node.send(&encode::serialize_hex(&payment))?;
    tokio::time::timeout(READY, settled).await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_fixed_text() -> Result<()> {
    let mut bench = Bench::start(&["-limitancestorcount=2", "-limitdescendantcount=2"]).await?;
    let own = bench.spending(&[], 0)?.output[0].script_pubkey.clone();

    bench.assert_refused(Refusal::BelowRelayFee, 0, |_| {})?;
    bench.assert_refused(Refusal::FeeTooHigh, 100_000_000, |_| {})?;
    bench.assert_refused(Refusal::Dust, 1_000, |t| {
        t.output.push(output(100, own.clone()));
    })?;
    bench.assert_refused(Refusal::OutputType, 1_000_000, |t| {
        t.output.push(output(
            1_000,
            Builder::new().push_opcode(opcodes::OP_TRUE).into_script(),
        ));
    })?;
    bench.assert_refused(Refusal::OutputType, 1_000_000, |t| {
        t.output.extend([output(0, data(5)), output(0, data(5))]);
    })?;
    bench.assert_refused(Refusal::Version, 1_000, |t| {
        t.version = transaction::Version::non_standard(9);
    })?;
    bench.assert_refused(Refusal::NotFinal, 1_000, |t| {
        t.lock_time = absolute::LockTime::from_consensus(400_000);
    })?;
    bench.assert_refused(Refusal::NotFinal, 1_000, |t| {
        t.input[0].sequence = Sequence::from_height(u16::MAX);
    })?;
    bench.assert_refused(Refusal::TooSmall, 1_000, |t| {
        t.output = vec![output(0, ScriptBuf::from(vec![0x6a]))];
    })?;
    bench.assert_refused(Refusal::TooLarge, 10_000_000, |t| {
        t.output.extend(vec![output(1_000, own.clone()); 4_000]);
    })?;
    bench.assert_refused(Refusal::MissingInputs, 1_000, |t| {
        t.input[0].previous_output.vout = 7;
    })?;
    bench.assert_refused(Refusal::Invalid, 1_000, |t| {
        t.output[0].value = Amount::from_sat(COIN + 1);
    })?;

    let mut transaction = bench.payment()?;
    transaction.input[0].script_sig = ScriptBuf::from(vec![opcodes::all::OP_NOP.to_u8()]);
    bench.assert_answer(&transaction, Refusal::ScriptSigNotPushOnly)?;
    transaction.input[0].script_sig = ScriptBuf::from(vec![0; 1_651]);
    bench.assert_answer(&transaction, Refusal::ScriptSigSize)?;
    transaction.input[0].script_sig = ScriptBuf::new();
    bench.assert_answer(&malleated(&transaction), Refusal::ScriptFailed)?;
    transaction.input[0].previous_output = OutPoint::null();
    transaction.input[0].script_sig = ScriptBuf::from(vec![1, 1]);
    bench.assert_answer(&transaction, Refusal::Invalid)?;
    let garbage = RawTransaction::new(vec![0; 100]);
    ensure!(
        bench.broadcaster.take(&garbage, &Quota::new()).err() == Some(Refusal::NotATransaction)
    );

    // Nothing of all this was started.
    tokio::time::sleep(first_start()).await;
    ensure!(bench.dials() == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_against_others_in_the_mempool_is_refused() -> Result<()> {
    let mut bench = Bench::start(&["-limitancestorcount=2", "-limitdescendantcount=2"]).await?;
    let (coin, other) = (bench.coin()?, bench.coin()?);
    let first = bench.signed(&bench.spending(&[coin], 10_000)?)?;
    bench.node.send(&encode::serialize_hex(&first))?;
    let parent = OutPoint::new(first.compute_txid(), 0);

    let same_fee = bench.signed(&bench.spending(&[coin], 10_000)?)?;
    bench.assert_answer(&same_fee, Refusal::InsufficientReplacement)?;
    let own_parent = bench.signed(&bench.spending(&[coin, parent], 100_000)?)?;
    bench.assert_answer(&own_parent, Refusal::InsufficientReplacement)?;
    let more = bench.signed(&bench.spending(&[coin], 20_000)?)?;
    ensure!(
        bench.take(&more).is_ok(),
        "a replacement that pays more is refused"
    );

    // The second of a chain of two, and a third.
    let mut second = bench.spending(&[parent], 0)?;
    second.output[0].value = Amount::from_sat(COIN - 20_000);
    let second = bench.signed(&second)?;
    bench.node.send(&encode::serialize_hex(&second))?;
    let mut third = bench.spending(&[OutPoint::new(second.compute_txid(), 0), other], 0)?;
    third.output[0].value = Amount::from_sat(2 * COIN - 40_000);
    let third = bench.signed(&third)?;
    bench.assert_answer(&third, Refusal::TooLongChain)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mempool_asks_for_more() -> Result<()> {
    let mut bench = Bench::start(&["-maxmempool=5"]).await?;
    let coin = bench.coin()?;
    let script = bench.spending(&[coin], 0)?.output[0].script_pubkey.clone();
    let few = output(COIN / 100, script);
    let mut split = bench.spending(&[coin], 0)?;
    split.output = vec![few; 99];
    let split = bench.signed(&split)?;
    bench.node.send(&encode::serialize_hex(&split))?;
    bench.node.mine(1)?;
    let txid = split.compute_txid();
    for vout in 0..99 {
        let mut large = bench.spending(&[coin], 0)?;
        large.input[0].previous_output = OutPoint::new(txid, vout);
        // Not to the wallet, which would look at each of them.
        large.output = vec![output(1_000, ScriptBuf::new_p2wsh(&WScriptHash::all_zeros())); 2_000];
        let large = bench.signed(&large)?;
        if bench.node.send(&encode::serialize_hex(&large)).is_err() {
            break;
        }
    }
    let fees = bench.node.rpc("getmempoolinfo", json!([]))?;
    ensure!(
        fees["mempoolminfee"].as_f64() > fees["minrelaytxfee"].as_f64(),
        "{fees}"
    );
    bench.assert_refused(Refusal::BelowMempoolFee, 200, |_| {})
}

/// Credentials of a user of the node that may make these calls and no others.
fn user_for(calls: &[&str]) -> [String; 3] {
    // What the node's own `rpcauth.py` writes.
    let mut keyed = HmacEngine::<sha256::Hash>::new(b"salt");
    keyed.input(b"word");
    let proof: Hmac<sha256::Hash> = Hmac::from_engine(keyed);
    [
        format!("-rpcauth=claustrum:salt${proof}"),
        format!("-rpcwhitelist=claustrum:{}", calls.join(",")),
        "-rpcwhitelistdefault=0".to_owned(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whitelist_that_is_printed_suffices_and_lets_nothing_be_sent() -> Result<()> {
    let calls = claustrum::node::Method::ALL.map(claustrum::node::Method::name);
    let whitelist = user_for(&calls);
    let extra = whitelist.each_ref().map(String::as_str);
    let mut bench = Bench::start(&extra).await?;
    let folder = tempfile::tempdir()?;
    let cookie = folder.path().join("cookie");
    std::fs::write(&cookie, "claustrum:word")?;
    let ours = NodeSettings {
        auth: NodeAuth::cookie_file(cookie),
        ..settings_of(&bench.node)?
    };
    ensure!(!Sender::new(&ours).may_send()?, "it may send");
    ensure!(
        Sender::new(&settings_of(&bench.node)?).may_send()?,
        "nobody may send"
    );

    let payment = bench.payment()?;
    let judge = Judge::new(&ours);
    let raw = encode::serialize(&payment);
    let judgement = judge.test(&raw, FeeRate(claustrum::limits::FEE_RATE_MAX))?;
    ensure!(matches!(judgement, Judgement::Acceptable));
    ensure!(judge.in_mempool(&[payment.compute_txid()])? == [false]);
    ensure!(judge.surroundings()?.relays);
    Ok(judge.chain_state().map(|_state| ())?)
}
