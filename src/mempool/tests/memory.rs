//! What a mempool really takes, beside what it counts.

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::time::Instant;

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, BlockHash, OutPoint, Transaction, Txid};

use super::world::{pay_scripts, tip};
use crate::chain::ScriptHash;
use crate::index::{self, FundedOutput, ScriptPrefix, TransactionReader};
use crate::mempool::source::OutputSource;
use crate::mempool::{Mempool, MempoolSource, Poller};
use crate::node;

/// Set for the process that holds the mempool and nothing else that grows.
const ALONE: &str = "CLAUSTRUM_TEST_MEMPOOL_ALONE";
const TRANSACTIONS: u32 = 60_000;
/// Rounds from one copy that is shown to the next.
const ROUNDS_SHOWN: usize = 4;
/// The list of all, and what the allocator keeps of it and of whole transactions.
const BESIDE: u64 = 6 << 20;

/// Makes transactions when they are asked for, and keeps none.
struct Numbers(HashMap<Txid, u32>);

/// One or two inputs, two outputs; every tenth pays to a script that many pay to.
fn numbered(number: u32) -> Transaction {
    let coin = |which: u8| {
        let mut txid = [which; 32];
        txid[..4].copy_from_slice(&number.to_be_bytes());
        OutPoint::new(Txid::from_byte_array(txid), 0)
    };
    let from = [coin(1), coin(2)];
    let payee = if number.is_multiple_of(10) { 0 } else { number };
    let scripts = [(payee, 500), (TRANSACTIONS + number, 400)];
    pay_scripts(&from[..1 + usize::from(number.is_multiple_of(4))], &scripts)
}

impl MempoolSource for Numbers {
    fn mempool_txids(&self) -> Result<Vec<Txid>, node::Error> {
        Ok(self.0.keys().copied().collect())
    }

    fn mempool_transactions(
        &self,
        txids: &[Txid],
    ) -> Result<Vec<Option<Transaction>>, node::Error> {
        Ok(txids
            .iter()
            .map(|txid| Some(numbered(self.0[txid])))
            .collect())
    }

    fn block_transactions(
        &self,
        _: &[(Txid, BlockHash)],
    ) -> Result<Vec<Option<Transaction>>, node::Error> {
        Ok(Vec::new())
    }
}

impl OutputSource for Numbers {
    fn prefix(&self, script_hash: &ScriptHash) -> ScriptPrefix {
        let first = script_hash.as_bytes()[..8].try_into().unwrap();
        ScriptPrefix(u64::from_be_bytes(first))
    }

    fn outputs(
        &self,
        outpoints: &[OutPoint],
        _: &dyn TransactionReader,
    ) -> Result<Vec<Option<FundedOutput>>, index::Error> {
        let owner = |outpoint: &OutPoint| {
            let first = outpoint.txid.to_byte_array()[..8].try_into().unwrap();
            Some(FundedOutput {
                prefix: ScriptPrefix(u64::from_be_bytes(first)),
                amount: Amount::from_sat(1_000),
            })
        };
        Ok(outpoints.iter().map(owner).collect())
    }
}

/// Memory of this process that no file backs, in bytes.
fn anonymous() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kibibytes = line.unwrap().trim().trim_end_matches(" kB");
    kibibytes.parse::<u64>().unwrap() * 1024
}

#[test]
fn it_takes_no_more_than_it_counts() {
    if std::env::var_os(ALONE).is_none() {
        let name = "mempool::tests::memory::it_takes_no_more_than_it_counts";
        let mut alone = Command::new(std::env::current_exe().unwrap());
        let output = alone
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, "1")
            .output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        // Otherwise nothing was measured.
        assert!(said.contains("counted"), "{said}");
        return;
    }
    let numbers = (0..TRANSACTIONS).map(|number| (numbered(number).compute_txid(), number));
    let source = Numbers(numbers.collect());
    let before = anonymous();
    let mut poller = Poller::default();
    let now = Instant::now();
    let mut shown = Mempool::default();
    let mut rounds = 0;
    while poller
        .round(&source, &source, tip(0), now)
        .unwrap()
        .is_zero()
    {
        rounds += 1;
        if rounds % ROUNDS_SHOWN == 0 {
            shown = poller.mempool().clone();
        }
        drop(poller.take_changed());
    }
    let (taken, counted) = (anonymous() - before, poller.mempool().bytes());
    let each = counted / poller.mempool().len();
    println!(
        "counted {counted}, {each} each; taken {taken}; shown {}",
        shown.len()
    );
    assert_eq!(
        poller.mempool().len(),
        usize::try_from(TRANSACTIONS).unwrap()
    );
    let counted = u64::try_from(counted).unwrap();
    assert!(taken <= counted + BESIDE, "{taken} above {counted}");
    // And not so little that room is wasted.
    assert!(2 * taken >= counted, "{taken} far below {counted}");
}
