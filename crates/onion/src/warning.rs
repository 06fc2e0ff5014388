//! The one loss that shows in Arti's log only.

/// Where Arti warns about it, and in what words (tor-hsservice 0.47, `ipt_establish.rs`).
const TARGET: &str = "tor_hsservice::ipt_establish";
const MESSAGE: &str =
    "sending rendezvous request to handler task: error: Could not send request; stream was full.";

/// Whether a log event says that a client's introduction was lost.
///
/// Between its introduction circuits and [`OnionService`](crate::OnionService) Arti keeps a queue
/// of 32. What exceeds it within one turn of the scheduler is dropped, and each such client waits
/// half a minute or more before it tries again. The only trace is one event at level `WARN` for
/// each loss, which does not say by which service. The process' log subscriber has to hand the
/// target and the formatted message to this function, to count, and to print nothing: a flood of
/// introductions would become a flood of lines.
pub fn is_lost_introduction(target: &str, message: &str) -> bool {
    target == TARGET && message == MESSAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_introduction_is_told_from_other_events() {
        assert!(is_lost_introduction(TARGET, MESSAGE));
        assert!(!is_lost_introduction(
            "tor_proto::circuit::reactor::stream",
            MESSAGE
        ));
        assert!(!is_lost_introduction(
            TARGET,
            "Error from intro-point establisher task"
        ));
    }
}
