//! How a bulk is cut to memory and disk, and what it leads to.

use std::sync::atomic::AtomicU32;

use super::*;
use crate::error::ErrorKind;
use crate::index::{Digests, Extent, Keys, Options};
use crate::sync::tests::{FakeNode, pay};

const GIB: usize = 1 << 30;

fn bulk_sync(dir: &Path, jobs: usize, memory_bytes: usize) -> BulkSync {
    let settings = BulkSettings {
        block_files: None,
        rest: true,
        jobs: NonZeroUsize::new(jobs).unwrap(),
        memory_bytes,
        blocks_min: 10,
        distance: 5,
        working_dir: dir.join("bulk"),
    };
    BulkSync::new(settings, Network::Regtest, Arc::default())
}

fn index(dir: &Path) -> Index {
    let options = Options {
        keys: Some(Keys {
            script: [1; 16],
            outpoint: [2; 16],
            txid: [3; 16],
        }),
        ..Options::default()
    };
    Index::open_with(dir, Network::Regtest, &options).unwrap()
}

#[test]
fn what_a_thread_sorts_and_what_all_buffer_fit_into_the_memory() {
    for (jobs, memory) in [(1, GIB), (2, GIB / 2), (4, GIB), (8, GIB), (2, GIB / 16)] {
        let sync = bulk_sync(Path::new("/"), jobs, memory);
        let readers = sync.readers(true);
        let most = sync.transactions_max(u64::MAX, readers);
        assert!(most >= 20_000_000, "{most} in one go are few");
        for transactions in [1, 1_000_000, most] {
            let shape = sync.shape(transactions, readers);
            let partitions = 1_usize << shape.partition_bits;
            let buffers = jobs * partitions * limits::SPILL_CHUNK_BYTES;
            assert!(buffers <= memory / 4 || shape.partition_bits == PARTITION_BITS_MIN);
            let sorted = (transactions >> shape.partition_bits) * MEMORY_PER_TRANSACTION;
            assert!(sorted * u64::try_from(jobs).unwrap() <= u64::try_from(memory / 2).unwrap());
            assert!(u32::from(shape.shard_bits) <= SHARD_BITS_MAX);
        }
    }
    let sync = bulk_sync(Path::new("/"), 2, GIB / 2);
    let readers = sync.readers(true);
    assert_eq!(sync.shape(1_000_000, readers).shard_bits, 2);
    assert_eq!(sync.shape(1_400_000_000, readers).shard_bits, 6);
    // Those that wait for the node have buffers too.
    let readers = sync.readers(false);
    assert_eq!(readers.get(), limits::NODE_BULK_CALLS_MAX);
    let partitions = 1_usize << sync.partition_bits_max(readers);
    assert!(readers.get() * partitions * limits::SPILL_CHUNK_BYTES <= GIB / 8);
}

#[test]
fn a_bulk_ends_some_way_below_the_tip_and_equals_what_comes_block_by_block() {
    let node = FakeNode::new();
    node.mine(40, &[]);
    let dir = tempfile::tempdir().unwrap();
    let mut built = index(&dir.path().join("bulk-built"));
    let mut sync = bulk_sync(dir.path(), 2, GIB / 16);
    assert_eq!(sync.target(&built, None, Height(13)), None, "too few");
    let last = sync.target(&built, None, Height(40)).unwrap();
    assert_eq!(last, Height(35));
    sync.step(&node, &mut built, last, |_| ()).unwrap();
    assert_eq!(built.bulk_from(), Height(36));
    let below = Some(Height(20));
    assert_eq!(
        sync.target(&built, below, Height(60)),
        None,
        "a reorg into segments"
    );

    let mut other = index(&dir.path().join("tip-built"));
    let heights: Vec<_> = (0..=35).map(Height).collect();
    let hashes = node.block_hashes(&heights).unwrap();
    let hashes: Vec<_> = hashes.into_iter().collect::<Option<_>>().unwrap();
    other.update(None, &node.blocks(&hashes).unwrap()).unwrap();
    assert_eq!(built.digest().unwrap(), other.digest().unwrap());
}

/// Takes in 35 blocks, half of which spend something, from a node prepared in this way.
fn taken_in(prepare: impl Fn(&FakeNode)) -> (FakeNode, Digests) {
    let node = FakeNode::new();
    node.mine(1, &[]);
    for height in 1..20 {
        let transaction = pay(node.coinbase(height), u8::try_from(height % 3).unwrap());
        node.mine(2, &[&transaction]);
    }
    prepare(&node);
    let dir = tempfile::tempdir().unwrap();
    let mut built = index(&dir.path().join("index"));
    let mut sync = bulk_sync(dir.path(), 2, GIB / 16);
    sync.step(&node, &mut built, Height(35), |_| ()).unwrap();
    assert_eq!(built.bulk_from(), Height(36));
    (node, built.digest().unwrap())
}

#[test]
fn blocks_come_by_rest_as_long_as_the_node_serves_that() {
    let (_, as_json) = taken_in(|_| ());
    let (node, by_rest) = taken_in(|node| node.serve_rest(100));
    // One more tells whether there is any.
    assert_eq!(node.rest_left(), 100 - 36 - 1);
    assert_eq!(by_rest, as_json);
    let (node, first_half) = taken_in(|node| node.serve_rest(20));
    assert_eq!(node.rest_left(), 0);
    assert_eq!(first_half, as_json);
}

#[test]
fn a_block_by_rest_that_cannot_be_used_comes_as_json_and_so_do_all_after_it() {
    let (_, as_json) = taken_in(|_| ());
    let spoils: [fn(&mut Vec<u8>); 4] = [
        |block| block.truncate(100),
        |block| block.clear(),
        |block| block.push(0),
        // Another block: the hash is that of the header.
        |block| block[70] ^= 1,
    ];
    for (number, spoil) in spoils.into_iter().enumerate() {
        let (node, digests) = taken_in(|node| {
            node.serve_rest(100);
            node.spoil_rest(80, spoil);
        });
        assert_eq!(digests, as_json, "spoil {number}");
        // Others were asked for meanwhile, by as many threads as there are.
        let asked = 100 - node.rest_left();
        let most = 20 + u32::try_from(limits::NODE_BULK_CALLS_MAX).unwrap();
        assert!(
            (20..=most).contains(&asked),
            "{asked} blocks, spoil {number}"
        );
    }
}

#[test]
fn a_node_that_goes_away_meanwhile_is_waited_for() {
    let (_, undisturbed) = taken_in(|_| ());
    for rest in [0, 100] {
        let (_, disturbed) = taken_in(|node| {
            node.serve_rest(rest);
            node.stumble(if rest == 0 { 2 } else { 9 });
        });
        assert_eq!(disturbed, undisturbed);
    }
}

#[test]
fn a_disk_that_is_too_small_is_refused_before_anything_is_written() {
    let node = FakeNode::new();
    node.mine(40, &[]);
    let dir = tempfile::tempdir().unwrap();
    let sync = bulk_sync(dir.path(), 2, GIB / 16);
    let plan = |room| {
        sync.plan(&node, Height(0), Height(35), room, NonZeroUsize::MIN)
            .err()
    };
    let room = limits::DISK_RESERVE_BYTES + 36 * SPACE_PER_TRANSACTION;
    assert!(plan(room).is_none());
    let refused = plan(room - 1).unwrap();
    assert_eq!(refused.kind(), ErrorKind::Io);
    assert_eq!(
        error::report(&refused),
        "update the index: build the index: it needs 0.1 GB of free disk and there are 0.1 GB; free some, or name \
         another --data-dir"
    );
}

#[test]
fn a_disk_that_fills_up_meanwhile_ends_the_bulk_and_leaves_the_index_as_it_was() {
    static LOOKS: AtomicU32 = AtomicU32::new(0);
    let node = FakeNode::new();
    node.mine(40, &[]);
    node.set_pause(2 * limits::BULK_WATCH_INTERVAL);
    let dir = tempfile::tempdir().unwrap();
    let mut index = index(&dir.path().join("index"));
    let mut sync = bulk_sync(dir.path(), 2, GIB / 16);
    sync.free_space = |_dir| {
        let looked = LOOKS.fetch_add(1, Ordering::Relaxed);
        Ok(if looked == 0 { u64::MAX } else { 0 })
    };
    let last = Height(35);
    let full = sync.step(&node, &mut index, last, |_| ()).unwrap_err();
    assert!(
        matches!(full, Error::Index(index::Error::NoSpace { free: 0, .. })),
        "{full:?}"
    );
    assert_eq!(index.snapshot().tip(), None);
    assert_eq!(LOOKS.load(Ordering::Relaxed), 2);

    sync.free_space = |_dir| Ok(u64::MAX);
    sync.step(&node, &mut index, last, |_| ()).unwrap();
    assert_eq!(index.bulk_from(), Height(36));
    index.check(Extent::Full).unwrap();
}
