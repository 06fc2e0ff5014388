//! Notifications at moments that tell nothing of a client's scripts, where the operator wants that.

use bitcoin::BlockHash;
use tokio::time::Instant;

use crate::limits;

/// When one session tells what changed. Off, it is at once.
pub(super) struct Ticks {
    on: bool,
    tip: Option<BlockHash>,
    /// When what the newest block changed is told.
    block: Option<Instant>,
    /// What will be told then, in order.
    held: Vec<u8>,
}

impl Ticks {
    pub(super) fn new(on: bool) -> Self {
        Self {
            on,
            tip: None,
            block: None,
            held: Vec::new(),
        }
    }

    /// Takes note of the tip of a new view; whether changes are looked at now instead of later.
    pub(super) fn view(&mut self, tip: Option<BlockHash>) -> bool {
        let before = std::mem::replace(&mut self.tip, tip);
        if self.on && before.is_some() && before != tip {
            let tick = Instant::now() + limits::BLOCK_TICK;
            self.block.get_or_insert(tick);
        }
        !self.on || before != tip
    }

    /// When to look again, after everything that changed was looked at.
    pub(super) fn next_look(&self) -> Option<Instant> {
        if !self.on {
            return None;
        }
        let range = limits::MEMPOOL_TICK_MAX.saturating_sub(limits::MEMPOOL_TICK_MIN);
        let share = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
        Some(Instant::now() + limits::MEMPOOL_TICK_MIN + range.mul_f64(share))
    }

    /// Keeps these notifications for the tick of a block; what leaves now, which is all when it is too much to keep.
    pub(super) fn hold(&mut self, mut lines: Vec<u8>) -> Vec<u8> {
        self.held.append(&mut lines);
        if self.block.is_some() && self.held.len() <= limits::OUTBOUND_BYTES_SOFT {
            return Vec::new();
        }
        self.release()
    }

    /// What was held; an answer must not leave before it.
    pub(super) fn release(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    pub(super) fn due_at(&self) -> Option<Instant> {
        self.block
    }

    /// Whether the tick of a block has come; it comes once.
    pub(super) fn come(&mut self) -> bool {
        self.block.take_if(|tick| *tick <= Instant::now()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash as _;

    fn tip(number: u8) -> Option<BlockHash> {
        Some(BlockHash::from_byte_array([number; 32]))
    }

    #[tokio::test(start_paused = true)]
    async fn a_block_is_told_at_its_tick_and_the_mempool_at_others() {
        let mut ticks = Ticks::new(true);
        assert!(ticks.view(tip(1)) && ticks.due_at().is_none());
        assert!(!ticks.view(tip(1)));
        assert_eq!(ticks.hold(vec![1]), [1]);
        for _ in 0..1_000 {
            let wait = ticks.next_look().unwrap() - Instant::now();
            assert!(wait >= limits::MEMPOOL_TICK_MIN && wait <= limits::MEMPOOL_TICK_MAX);
        }
        assert!(ticks.view(tip(2)) && !ticks.come());
        assert!(ticks.hold(vec![2]).is_empty());
        // A second block does not put the tick off.
        tokio::time::advance(limits::BLOCK_TICK / 2).await;
        assert!(ticks.view(tip(3)) && ticks.hold(vec![3]).is_empty());
        tokio::time::advance(limits::BLOCK_TICK / 2).await;
        assert!(ticks.come() && !ticks.come());
        assert_eq!(ticks.release(), [2, 3]);
        assert!(ticks.view(tip(4)));
        let most = vec![0; limits::OUTBOUND_BYTES_SOFT];
        assert!(ticks.hold(most.clone()).is_empty());
        assert_eq!(ticks.hold(vec![1]).len(), most.len() + 1);
        assert!(ticks.release().is_empty());
    }

    #[tokio::test]
    async fn off_nothing_waits() {
        let mut ticks = Ticks::new(false);
        for number in [1, 1, 2] {
            assert!(ticks.view(tip(number)));
            assert!(ticks.due_at().is_none() && ticks.next_look().is_none());
            assert_eq!(ticks.hold(vec![number]), [number]);
        }
    }
}
