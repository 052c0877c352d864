use super::*;

const MSS: u32 = 1_000;

/// In recovery from a window of ten segments, so that seven are the threshold.
fn recovering() -> Sender {
    let mut sender = Sender::new(Algorithm::Cubic, MSS, Instant::ZERO, None);
    sender.enter_recovery(Instant::ZERO, 10 * MSS, 10 * MSS, MSS, (None, 0));
    sender
}

/// Delivers so many segments, of which none is found lost, and sends as many as PRR allows; tells how many.
fn step(sender: &mut Sender, in_flight: &mut u32, delivered: u32, advanced: bool) -> u32 {
    *in_flight -= delivered;
    sender.reduce(delivered * MSS, *in_flight * MSS, MSS, advanced);
    let sent = (sender.window() / MSS).saturating_sub(*in_flight);
    for _ in 0..sent {
        sender.stamp(Instant::ZERO, (0, MSS), 0, false);
    }
    *in_flight += sent;
    sent
}

#[test]
fn above_the_threshold_seven_of_ten_delivered_are_sent() {
    // RFC 6937 section 3, in segments: `sndcnt = CEIL(prr_delivered * ssthresh / RecoverFS) - prr_out`.
    let mut sender = Sender::new(Algorithm::Cubic, MSS, Instant::ZERO, None);
    sender.control.set_cwnd(100 * MSS);
    sender.enter_recovery(Instant::ZERO, 100 * MSS, 100 * MSS, MSS, (None, 0));
    let mut in_flight = 99;
    let mut out = 0;
    for delivered in 1..=29u32 {
        out += step(&mut sender, &mut in_flight, 1, false);
        assert_eq!(out, (delivered * 7).div_ceil(10), "{delivered}");
    }
}

#[test]
fn below_the_threshold_the_window_grows_back_by_what_is_delivered_and_one_more() {
    // RFC 6937 section 3, slow start reduction bound: in flight after heavy losses, delivered by each ACK, whether it moved
    // on, and what may be sent.
    for (flight, steps) in [
        (
            2,
            &[
                (1, false, 1),
                (1, true, 2),
                (1, true, 2),
                (1, true, 2),
                (1, false, 1),
            ][..],
        ),
        (3, &[(3, true, 4), (2, true, 3), (1, true, 2)]),
        // Not beyond the threshold.
        (7, &[(1, true, 1), (7, true, 7)]),
        // The first retransmission leaves whatever is in flight.
        (9, &[(0, false, 1), (1, false, 0)]),
    ] {
        let mut sender = recovering();
        let mut in_flight = flight;
        for (nth, &(delivered, advanced, sent)) in steps.iter().enumerate() {
            let got = step(&mut sender, &mut in_flight, delivered, advanced);
            assert_eq!(got, sent, "{flight} in flight, step {nth}");
        }
    }
}

#[test]
fn a_phase_is_in_vain_when_all_it_sent_again_was_received_twice() {
    // Retransmissions of before, of this phase, and DSACKs until it is known that all was in vain.
    for (before, of_this, needed) in [
        (0, 1, Some(1)),
        (0, 3, Some(3)),
        (2, 1, Some(3)),
        (0, 0, None),
    ] {
        let mut sender = Sender::new(Algorithm::Cubic, MSS, Instant::ZERO, None);
        sender.enter_recovery(Instant::ZERO, 10 * MSS, 10 * MSS, MSS, (Some(5), before));
        for _ in 0..of_this {
            sender.on_retransmit(9, MSS);
        }
        assert_eq!(sender.undo_timestamp, Some(5));
        let told = (1..=5).find(|_| sender.on_duplicate(0, MSS));
        assert_eq!(told, needed, "{before} {of_this}");
        sender.leave(Instant::ZERO);
        assert!(!sender.on_duplicate(0, MSS));
    }
}
