//! Every bound of the server, each with its reason. Sizes are bytes unless the name says otherwise.

use std::ops::RangeInclusive;
use std::time::Duration;

/// A request line: the largest legitimate one is a broadcast of a standard transaction, 800 kB of hexadecimal digits.
pub const LINE_BYTES_MAX: usize = 2_000_000;
/// Up to here a line needs no permit.
pub const LINE_BYTES_FREE: usize = 64 * 1024;
/// Sessions that may at one time receive a line above [`LINE_BYTES_FREE`], which bounds their memory together.
pub const LARGE_LINES_MAX: usize = 4;
/// What is read from a stream at a time, and what a session holds for reading between lines.
pub const READ_BYTES: usize = 4096;
/// Arguments of one request; the longest list that the protocol knows has three.
pub const PARAMS_MAX: usize = 16;
/// The id of a request, as JSON; wallets send small numbers.
pub const ID_BYTES_MAX: usize = 256;
/// Requests in one batch; BlueWallet sends 200, Liana 200, Sparrow 100.
pub const BATCH_ITEMS_MAX: usize = 350;
/// Requests of one session that are worked on at a time; beyond it reading pauses.
pub const IN_FLIGHT_MAX: usize = 16;
/// While less of a lane's threads are in use, in percent, no session waits for another, whatever it has spent.
pub const LANE_FREE_PERCENT: usize = 70;
/// What a session that waits gets in each round, in units of 10 us on a thread or 1 KiB sent: 10 ms are a long history,
/// and how much one session may be ahead of another.
pub const BUDGET_QUANTUM: i64 = 1_000;
/// Txids for which an answer is sought where its request is read, instead of on a thread for reads.
pub const LITTLE_EFFORT_ENTRIES: usize = 32;
/// Watched things that are looked at again where their session hears of a new view; each takes some ten microseconds.
pub const LITTLE_EFFORT_SCRIPTS: usize = 16;
/// Bytes of a transaction that is answered there.
pub const LITTLE_EFFORT_BYTES: usize = 16 * 1024;
/// An answer there that takes longer, because it waited, has met the disk: pages in memory take hundredths of it.
pub const AT_ONCE_MAX: Duration = Duration::from_micros(500);
/// So many times as long as such an answer took, all others are sought on threads for reads: a disk then holds up a
/// thread that serves sessions for a ninth of its time.
pub const AT_ONCE_PAUSE_FACTOR: u32 = 8;
/// Lines that a session reads and answers at once, each counted twice, before others have the thread.
pub const TURN_LINES_MAX: usize = 128;
/// Lines of requests that wait behind those until reading pauses: a ping among them is answered at once.
pub const BACKLOG_BYTES_MAX: usize = 64 * 1024;
/// Cores of the machine for each thread that runs Tor and sessions, at least one thread: a request takes half a dozen
/// steps there, and one that is handed to another thread waits for a core each time. Reads and blocks have threads of
/// their own.
pub const CORES_PER_RUNTIME_THREAD: usize = 2;
/// Default of `limits.reply-bytes-max`: Electrum's own limit for an incoming message. A reply with its spaces has the
/// whole cells below it at most.
pub const REPLY_BYTES_MAX: usize = 8_100_000;
/// The least that may be set: 2016 headers in hexadecimal digits, and their frame.
pub const REPLY_BYTES_MIN: usize = 350_000;
/// Bytes waiting, filled, for a client that reads slowly before reading from it pauses.
pub const OUTBOUND_BYTES_SOFT: usize = 128 * 1024;
/// What a relay cell of Tor carries, in the newest form of cells: every write is filled to a multiple of it.
pub const CELL_BYTES: usize = 488;
/// Up to here the size of a write is a power of two of cells; above it there are three sizes more between two of them.
pub const DOUBLED_BYTES_MAX: usize = 64 * 1024;
/// Replies that leave together; a longer one leaves alone. No setting of Electrum makes it refuse a line of 500,000.
pub const JOINED_BYTES_MAX: usize = 1024 * CELL_BYTES;
/// A reply above this needs room in [`OUTBOUND_BYTES_MAX`] until it has left.
pub const LARGE_REPLY_BYTES: usize = 16 * 1024;
/// Large replies of all sessions together that wait for their clients, filled; when they fill it, another one becomes an error.
pub const OUTBOUND_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Transactions in an answer to `mempool.recent`; the protocol's number.
pub const RECENT_TRANSACTIONS: usize = 10;
/// Transactions whose acceptance is tested at once; a node takes no more.
pub const ACCEPT_TEST_MAX: usize = 25;
/// Transactions of a script that are read to find which of them spends an output; beyond, there is no answer.
pub const SPENDER_SEARCH_MAX: usize = 10_000;
/// Digits with which a ping is answered at once; more count toward the limit of replies, and wait their turn.
pub const PONG_AT_ONCE_MAX: usize = 256;
/// Scripts and outpoints one session may watch.
pub const SUBSCRIPTIONS_PER_SESSION_MAX: usize = 10_000;
/// Sessions in all.
pub const SESSIONS_MAX: usize = 400;
/// Headers in one answer; the protocol's number.
pub const HEADERS_MAX: u32 = 2016;
/// Protocol errors a session may make in a minute.
pub const PROTOCOL_ERRORS_PER_MINUTE_MAX: usize = 200;
/// A silent session is closed after this time; the protocol speaks of about ten minutes.
pub const IDLE_MAX: Duration = Duration::from_secs(900);
/// The first complete line must have come by then.
pub const FIRST_LINE_MAX: Duration = Duration::from_secs(60);
/// Once begun, a line has this long, and a second more for every [`LINE_BYTES_PER_SECOND_MIN`].
pub const LINE_COMPLETION_MAX: Duration = Duration::from_secs(30);
/// The slowest sender that is still served.
pub const LINE_BYTES_PER_SECOND_MIN: usize = 4 * 1024;
/// A client that takes nothing for this long is closed.
pub const NO_DRAIN_MAX: Duration = Duration::from_secs(90);
/// A request is answered within this time, if need be with an error.
pub const REQUEST_MAX: Duration = Duration::from_secs(30);
/// Transactions of all sessions together that the node judges or sends at a time; waiting for a delivery takes no thread.
pub const BROADCASTS_MAX: usize = 2;
/// New transactions that one session may queue in [`SESSION_TRANSACTIONS_WINDOW`], so that no client fills the queue alone.
pub const SESSION_TRANSACTIONS_MAX: usize = 10;
/// The time in which they count.
pub const SESSION_TRANSACTIONS_WINDOW: Duration = Duration::from_secs(600);
/// A status that could not be computed is tried again after this time, or with the next view.
pub const REFRESH_RETRY: Duration = Duration::from_secs(1);
/// With `uniform-ticks`: how long after a block all sessions write what it changed; few statuses take longer to find.
pub const BLOCK_TICK: Duration = Duration::from_secs(1);
/// What they write then at least: a header and the statuses of three scripts fit.
pub const BLOCK_TICK_BYTES: usize = 2 * CELL_BYTES;
/// With `uniform-ticks`: the shortest pause between two looks at what the mempool changed.
pub const MEMPOOL_TICK_MIN: Duration = Duration::from_secs(3);
/// The longest.
pub const MEMPOOL_TICK_MAX: Duration = Duration::from_secs(8);
/// What a session may keep of the answers it gave: it grows with what one client asks for.
pub const MEMO_BYTES_MAX: usize = 256 * 1024;
/// What all sessions together may keep; one that grows beyond it forgets.
pub const MEMOS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Txids among it, none of an answer with more: a table of these takes 148 KiB, and one more would double it.
pub const MEMO_TXIDS_MAX: usize = 3_584;
/// Statuses among it, those that were used last: they take 96 KiB.
pub const MEMO_STATUSES_MAX: usize = 512;
/// A session keeps nothing of its answers longer than this without a request.
pub const MEMO_IDLE_MAX: Duration = Duration::from_secs(60);
/// Statuses of fewer transactions are worked out anew each time, which takes less than to look for them.
pub const MEMO_ENTRIES_MIN: usize = 64;
/// Versions whose changes a view carries; a session further behind recomputes all its statuses.
pub const VIEW_CHANGES_MAX: usize = 64;
/// Scripts that all these changes together name: while a large mempool is read, each version names thousands.
pub const VIEW_SCRIPTS_MAX: usize = 200_000;
/// Pages of all files of the index that redb keeps in memory together, those being written among them.
pub const INDEX_CACHE_BYTES: usize = 92 * 1024 * 1024;
/// What `main.redb` gets of it, for headers and for what is being written.
pub const INDEX_MAIN_CACHE_BYTES: usize = 12 * 1024 * 1024;
/// The newest blocks, which keep their delta rows: a reorg of so many needs no block again.
pub const DELTA_BLOCKS_MIN: u32 = 288;
/// Blocks whose delta rows become one segment when that many stand above [`DELTA_BLOCKS_MIN`].
pub const SEGMENT_BLOCKS: u32 = 144;
/// Largest piece of a delta row in `main.redb`; with what redb adds it fills two pages of the file.
pub const DELTA_PIECE_BYTES: usize = 8150;
/// Neighbouring segments of one size that become one; more make lookups slower, fewer write more often.
pub const MERGE_RATIO: usize = 4;
/// Sizes of segments below the base; the largest have 9,216 blocks, two months of them.
pub const SEGMENT_LEVELS: u32 = 4;
/// The base is cut into two to the power of this many files: a merge needs the space of one of them.
pub const BASE_SHARD_BITS: u8 = 6;
/// Every blob of the index is looked at this often, in the background.
pub const SCRUB_INTERVAL: Duration = Duration::from_secs(7 * 24 * 3600);
/// Newest blocks that are compared with the node's at the start: all that an unclean end can have touched, and more.
pub const VERIFIED_BLOCKS: u32 = 10;
/// Bytes of one blob of a segment: with key and lengths it fills a page of 8 KiB.
pub const SEGMENT_BLOB_BYTES: usize = 8150;
/// Pages that redb keeps in memory for one segment that is being written; what fits is written once.
pub const SEGMENT_WRITE_CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Segments that are written at a time once the index is built: of the newest blocks, and of a merge.
pub const SEGMENT_WRITERS_MAX: usize = 2;
/// What segments get of [`INDEX_CACHE_BYTES`] to be read.
pub const SEGMENT_READ_CACHE_BYTES: usize = 48 * 1024 * 1024;
/// Blocks of which transactions are read at the start where the index has them in the node's block files.
pub const PLACES_COMPARED: u32 = 256;
/// The whole of an orderly shutdown.
pub const SHUTDOWN_MAX: Duration = Duration::from_secs(20);
/// What sessions get of it to finish their current answer.
pub const SHUTDOWN_SESSIONS_MAX: Duration = Duration::from_secs(3);
/// What Tor gets to tell clients that their streams have ended; otherwise they may not notice for minutes.
pub const SHUTDOWN_GOODBYE: Duration = Duration::from_millis(250);
/// Without a word from the node for this long, chain questions are refused: stale is worse than down.
pub const NODE_SILENCE_MAX: Duration = Duration::from_secs(30 * 60);
/// What Tor gets after it to write its state; hundredths of a second suffice.
pub const SHUTDOWN_TOR_MAX: Duration = Duration::from_secs(5);
/// Circuits in all; a few more than sessions, so that it is sessions that are refused.
pub const CIRCUITS_MAX: usize = 512;
/// Bytes Arti may hold in queues before it closes the circuits with the oldest data.
pub const TOR_MEMORY_MAX: usize = 160 << 20;
/// Bytes down to which it then makes room.
pub const TOR_MEMORY_LOW_WATER: usize = 112 << 20;
/// The status is looked at this often, and written when it has changed.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// An unchanged status is written again after this time, to show that the server runs.
pub const STATUS_AGE_MAX: Duration = Duration::from_secs(15);
/// Bytes of one answer of the node: a full block with its previous outputs takes about 40 MB as JSON.
pub const NODE_ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of the answer with blocks alone, 8 MB each at most in hexadecimal digits; beyond it they are asked for one by one.
pub const BLOCKS_ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of the answer about what one block spends: 30 MB beside scripts, which a miner may make so long. What of it is not kept takes no memory.
pub const BLOCK_ANSWER_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Bytes of the node's cookie file, which holds a name and a password in one line.
pub const NODE_COOKIE_BYTES_MAX: u64 = 4096;
/// An ordinary call of the node, connecting included.
pub const NODE_CALL_MAX: Duration = Duration::from_secs(20);
/// Waiting for one's turn to call the node; together with the call it stays below [`REQUEST_MAX`].
pub const NODE_TURN_MAX: Duration = Duration::from_secs(8);
/// A call of the index lane: a slow disk needs this long for a batch of full blocks.
pub const NODE_BLOCKS_CALL_MAX: Duration = Duration::from_secs(60);
/// Connecting alone; on the same machine or network it takes milliseconds.
pub const NODE_CONNECT_MAX: Duration = Duration::from_secs(5);
/// Calls of the node at a time on behalf of all clients, so that they leave its 16 threads to others.
pub const NODE_CLIENT_CALLS_MAX: usize = 3;
/// Calls of the node at a time for transactions that leave: [`BROADCASTS_MAX`], and one that looks for those on their way.
pub const NODE_BROADCAST_CALLS_MAX: usize = 3;
/// Calls of the node at a time while the index is built from its answers; more reach no higher rate.
pub const NODE_BULK_CALLS_MAX: usize = 4;
/// Memory that is kept between two answers about what a block spends; nearly all fit.
pub const REST_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// How long the building of the index waits for a node that went away, before what was done since its last part is lost.
pub const BULK_NODE_SILENCE_MAX: Duration = Duration::from_secs(30 * 60);
/// Calls in one JSON-RPC batch whose answers are small.
pub const NODE_BATCH_ITEMS_MAX: usize = 2_000;
/// How long the node may hold back its answer while it waits for a block.
pub const TIP_WAIT_MAX: Duration = Duration::from_secs(20);
/// Pause after an answer of the long poll that came at once and told nothing new.
pub const TIP_WAIT_PAUSE: Duration = Duration::from_secs(1);
/// Transactions in one batch of blocks with their previous outputs: about 4 kB of JSON each.
pub const BLOCK_BATCH_TRANSACTIONS_MAX: u32 = 4_000;
/// Blocks in one commit of the index while it catches up.
pub const COMMIT_BLOCKS_MAX: u32 = 64;
/// Transactions in one commit, which bounds the memory of the blocks held: about 50 MB.
pub const COMMIT_TRANSACTIONS_MAX: u32 = 20_000;
/// Bytes of blocks and spent scripts after which a commit takes no further block, where a few transactions fill many.
pub const COMMIT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Scripts one published change may name; beyond it sessions look at all of theirs again.
pub const CHANGED_SCRIPTS_MAX: usize = 50_000;
/// Bytes of memory for the mempool: some 150,000 ordinary transactions. Above it those stay that pay best.
pub const MEMPOOL_BYTES_MAX: usize = 96 * 1024 * 1024;
/// Mempool transactions fetched in one round, so that a large mempool does not delay blocks.
pub const MEMPOOL_FETCH_MAX: usize = 1_024;
/// Bytes of mempool transactions that are looked up together; each of them needs blocks or rows of the index.
pub const MEMPOOL_PENDING_BYTES_MAX: usize = 1024 * 1024;
/// Mempool transactions in one batch: 64 of the largest standard ones stay below [`NODE_ANSWER_BYTES_MAX`].
pub const MEMPOOL_BATCH_MAX: usize = 64;
/// Shortest pause between two lists of the node's mempool.
pub const MEMPOOL_INTERVAL_MIN: Duration = Duration::from_millis(250);
/// Longest pause between two lists of the node's mempool.
pub const MEMPOOL_INTERVAL_MAX: Duration = Duration::from_secs(2);
/// A mempool of so many transactions is large: a list of 100,000 takes a node a quarter second.
pub const MEMPOOL_LARGE: usize = 20_000;
/// Longest pause between two lists of a large mempool.
pub const MEMPOOL_INTERVAL_LARGE: Duration = Duration::from_secs(10);
/// While a large mempool is read, views follow each other no faster.
pub const MEMPOOL_LOADING_INTERVAL: Duration = Duration::from_secs(1);
/// The pause is this many times what the node needed to list its mempool: 2 % of a core.
pub const MEMPOOL_PAUSE_FACTOR: u32 = 50;
/// How often a node is looked at that is behind the index or still fetches the chain.
pub const NODE_BEHIND_INTERVAL: Duration = Duration::from_secs(2);
/// First pause after the node was lost.
pub const NODE_RETRY_MIN: Duration = Duration::from_millis(500);
/// Longest pause between two attempts to reach the node.
pub const NODE_RETRY_MAX: Duration = Duration::from_secs(30);
/// How long a line about the node coming or going keeps the next one from the log.
pub const NODE_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Headers compared at a time on the way down to a fork point.
pub const FORK_SEARCH_BATCH: u32 = 144;
/// Weight of a transaction taken for broadcast; nodes relay no larger one.
pub const TRANSACTION_WEIGHT_MAX: u64 = 400_000;
/// A peer that was given a child asks for parents that it misses four seconds later; after this time it has asked for all.
pub const PACKAGE_QUIET: Duration = Duration::from_secs(10);
/// Transactions of a package: a child and four parents, which peers fetch over one connection.
pub const PACKAGE_MAX: usize = 5;
/// A message of a peer that is told of a transaction: it may push headers or addresses, which are passed over.
pub const PEER_MESSAGE_BYTES_MAX: usize = 400_000;
/// Bytes of such a peer in all; a chatty one sends a few thousand in the life of a connection.
pub const PEER_BYTES_MAX: usize = 1_000_000;
/// Its messages until the transaction is announced; a node sends eight.
pub const PEER_HANDSHAKE_MESSAGES_MAX: usize = 64;
/// Its messages in all.
pub const PEER_MESSAGES_MAX: usize = 256;
/// The name it gives itself; nodes take no longer one.
pub const PEER_AGENT_BYTES_MAX: usize = 256;
/// Random bytes behind the key that begins an encrypted connection; the protocol's number.
pub const PEER_GARBAGE_BYTES_MAX: usize = 4095;
/// Peers that the pool holds; each is looked at in every draw.
pub const PEER_CANDIDATES_MAX: usize = 20_000;
/// Usable peers of one network without which no transaction is taken: one for each of the usual deliveries.
pub const PEERS_MIN: usize = 3;
/// A peer that was given a transaction gets no other one for this long, so that nobody links the two.
pub const PEER_USED: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A peer that could not be reached is left alone for this long; it learnt nothing, so that others may try it then.
pub const PEER_REST: Duration = Duration::from_secs(10 * 60);
/// A peer this many blocks further behind than our tip is still syncing and drops what it is given: a day.
pub const PEER_BEHIND_MAX: u32 = 144;
/// Transactions on their way.
pub const JOBS_MAX: usize = 100;
/// Bytes of them; twenty of the largest ones.
pub const QUEUE_BYTES_MAX: usize = 8_000_000;
/// Transactions on their way that spend one output: a payment and three replacements.
pub const JOBS_PER_OUTPOINT_MAX: usize = 4;
/// Connections of first deliveries at a time.
pub const FIRST_CONNECTIONS_MAX: usize = 16;
/// Connections of further deliveries at a time; with [`FIRST_CONNECTIONS_MAX`] there are 24.
pub const FURTHER_CONNECTIONS_MAX: usize = 8;
/// The first delivery starts within this time.
pub const SLOT_START_MAX: Duration = Duration::from_secs(3);
/// Mean time from one start to the next one.
pub const SLOT_STAGGER_MEAN: Duration = Duration::from_secs(5);
/// Longest time from one start to the next one.
pub const SLOT_STAGGER_MAX: Duration = Duration::from_secs(20);
/// Dials of one delivery that may disclose nothing, one after another.
pub const DIALS_IN_VAIN_MAX: u32 = 12;
/// Replacements in one delivery of peers that were told of the transaction: each one is another who knows.
pub const REPLACEMENTS_MAX: u32 = 2;
/// Shortest time until such a replacement.
pub const REPLACEMENT_MIN: Duration = Duration::from_secs(5);
/// Longest time until such a replacement.
pub const REPLACEMENT_MAX: Duration = Duration::from_secs(30);
/// A delivery that finds no peer looks again after this time.
pub const NO_PEER_PAUSE: Duration = Duration::from_secs(60);
/// Shortest time between two looks at a transaction that has not come back; Bitcoin Core's.
pub const STALE_CHECK_MIN: Duration = Duration::from_secs(120);
/// Longest time between two such looks; Bitcoin Core's.
pub const STALE_CHECK_MAX: Duration = Duration::from_secs(180);
/// A transaction that no peer confirmed is stale after this time; Bitcoin Core's.
pub const STALE_UNRECEIVED: Duration = Duration::from_secs(300);
/// A transaction is stale this long after the last peer confirmed it; Bitcoin Core's.
pub const STALE_RECEIVED: Duration = Duration::from_secs(60);
/// Deliveries of a transaction at the ordinary pace.
pub const ATTEMPTS_FREE: u32 = 10;
/// Deliveries of a transaction after which it is looked at only every hour.
pub const ATTEMPTS_STALLED: u32 = 30;
/// Shortest time between two looks in between.
pub const BACK_OFF_MIN: Duration = Duration::from_secs(10 * 60);
/// Longest time between two looks in between.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(15 * 60);
/// Time between two looks after [`ATTEMPTS_STALLED`].
pub const STALLED_CHECK: Duration = Duration::from_secs(60 * 60);
/// A transaction that has not come back is given up after this time.
pub const JOB_AGE_MAX: Duration = Duration::from_secs(48 * 60 * 60);
/// A transaction that no peer takes for this long is the operator's business.
pub const BROADCAST_ALARM: Duration = Duration::from_secs(30 * 60);
/// So is one that peers took in so many rounds without giving it on.
pub const SILENT_ROUNDS_ALARM: u32 = 2;
/// A connection to an onion peer; descriptor, introduction and rendezvous take up to 15 s.
pub const DIAL_ONION_MAX: Duration = Duration::from_secs(60);
/// A connection through an exit.
pub const DIAL_EXIT_MAX: Duration = Duration::from_secs(30);
/// From a connection to the announcement of the transaction.
pub const PEER_HANDSHAKE_MAX: Duration = Duration::from_secs(40);
/// A connection to a peer, from its beginning; Bitcoin Core's, since a shorter one would set us apart.
pub const PEER_CONNECTION_MAX: Duration = Duration::from_secs(180);
/// Default of `broadcast.deliveries`: Bitcoin Core's number.
pub const DELIVERIES: u8 = 3;
/// The fewest that may be set: with one, a single peer that keeps silent would hold a transaction up.
pub const DELIVERIES_MIN: u8 = 2;
/// The most that may be set: each one is another peer who knows.
pub const DELIVERIES_MAX: u8 = 5;
/// Default of `broadcast.answer-wait-s`: Electrum waits 10 s without a proxy, more with one.
pub const ANSWER_WAIT: Duration = Duration::from_secs(8);
/// The most that may be set; [`REQUEST_MAX`] counts the node's judgement too, and ends the wait all the same.
pub const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
/// Default of `broadcast.max-fee-rate-btc-kvb`, in satoshi per 1000 virtual bytes: Bitcoin Core's.
pub const FEE_RATE_MAX: u64 = 10_000_000;
/// The most that may be set; the node takes no higher limit.
pub const FEE_RATE_LIMIT_MAX: u64 = 100_000_000;
/// How often the node is asked for transactions that have not come back, while there are any.
pub const BROADCAST_WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is asked how far it is, and under which addresses peers reach it.
pub const BROADCAST_NODE_INTERVAL: Duration = Duration::from_secs(10);
/// How long the queue sleeps when nothing is due.
pub const BROADCAST_IDLE_MAX: Duration = Duration::from_secs(60);
/// What deliveries get of a shutdown to end by themselves.
pub const SHUTDOWN_BROADCAST_MAX: Duration = Duration::from_secs(10);
/// A change of how broadcasting is reaches the log only so often: the time of a line could be that of a transaction.
pub const BROADCAST_LOG_INTERVAL: Duration = Duration::from_secs(600);
/// Bytes of a block in the node's files: from a header with a count to the largest that the network takes.
pub const BLOCK_BYTES: RangeInclusive<u64> = 81..=4_000_000;
/// Bytes of what one block spends: 24,000 inputs with a script of 10 kB each are possible.
pub const UNDO_BYTES: RangeInclusive<u64> = 1..=256 * 1024 * 1024;
/// Bytes that go to a partition of the working space of a bulk sync at a time; each thread holds so many for each.
pub const SPILL_CHUNK_BYTES: usize = 16 * 1024;
/// Fewer blocks than this are taken in by the ordinary path: a bulk has to begin segments of every kind.
pub const BULK_BLOCKS_MIN: u32 = 1_000;
/// How often a bulk sync looks whether it shall stop, and tells how far it is.
pub const BULK_WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// Block files in which blocks are looked for for the ordinary path: some thousand blocks.
pub const NEWEST_FILES_MAX: u32 = 64;
/// Newest block files in which a block is looked for that came a moment ago: the node goes over to a new file at times.
pub const TIP_FILES_MAX: u32 = 2;
/// Threads that read the transactions of one long history: a disk answers several questions at once as fast as one.
pub const HISTORY_THREADS: usize = 4;
/// Transactions that each of them reads at least.
pub const HISTORY_PART_MIN: usize = 2_048;
/// Bytes between two transactions that are read with them: to read these takes less than to ask once more.
pub const READ_GAP_BYTES_MAX: u64 = 2 * 1024;
/// Bytes of a block file that are read at once.
pub const READ_TOGETHER_BYTES_MAX: u64 = 128 * 1024;
/// Bytes of the disk that are left free.
pub const DISK_RESERVE_BYTES: u64 = 64 * 1024 * 1024;
/// Default of `sync-memory`: with what the rest of the process needs it stays below 640 MiB.
pub const SYNC_MEMORY_BYTES: usize = 512 * 1024 * 1024;
/// The least that may be set: buffers of two threads, and what they sort.
pub const SYNC_MEMORY_BYTES_MIN: usize = 64 * 1024 * 1024;
