//! The verdict: whether a copy was whole, decided before any destination is given its end; and what follows from it for each of them.
//!
//! A consumer that commits what it got at the end of its input must not see a clean end of a stream that is known to be cut. So
//! every end waits for this. Both are pure functions of what is known, so that a table has every case; nothing here acts.

/// What is known of the source's stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stream {
    /// Its end was read, and every check on it is met.
    Ended,
    /// As much as is wanted was read (`--limit`), and every check on that is met. Its producer has done what was asked of it.
    Enough,
    /// It failed, or it ended and a check on it is not met.
    Failed,
    /// More may come.
    Open,
}

/// What is known of the source's child.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Producer {
    EndedBadly,
    EndedWell,
    /// There is no child: nobody says how the producer ended.
    Nobody,
    Running,
}

/// What is known of a destination.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Consumer {
    /// Bytes are still on their way to it.
    Behind,
    /// It failed, and the policy has it count no more.
    Dropped,
    /// It failed, and counts.
    Failed,
    /// Everything that was read is transferred to it.
    Served,
}

/// What the ends of the destinations wait for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// The stream is cut, or somebody who counts did not get all of it.
    Bad,
    /// Everything is known to be well: the ends may be given.
    Good,
    /// Not known yet.
    Open,
}

/// When a destination is given its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EndRule {
    /// Behind the verdict, whatever that is.
    AfterVerdict,
    /// Behind what was read: no verdict is waited for.
    AtOnce,
    /// Behind a good verdict. If it is bad its command is ended before its input is.
    IfGood,
}

/// What is done about a destination's end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Act {
    /// It is given its end.
    End,
    /// Its command is asked to end, and killed if it has not ended after a grace; only then its input is closed.
    Kill,
    /// Nothing yet.
    Wait,
}

/// What is to be done about one destination's end. `is_drained`: nothing more comes from the source, and all that came was handed out.
pub(crate) const fn act(rule: EndRule, verdict: Verdict, is_drained: bool) -> Act {
    match (rule, verdict) {
        (EndRule::IfGood, Verdict::Bad) => Act::Kill,
        (EndRule::AfterVerdict | EndRule::IfGood, Verdict::Open) => Act::Wait,
        (EndRule::AfterVerdict | EndRule::AtOnce, Verdict::Bad)
        | (EndRule::AtOnce, Verdict::Open)
        | (EndRule::AfterVerdict | EndRule::AtOnce | EndRule::IfGood, Verdict::Good) => {
            if is_drained {
                Act::End
            } else {
                Act::Wait
            }
        }
    }
}

/// Decides. `is_stopped`: a deadline, a signal or a policy has stopped the copy.
///
/// A producer that failed is judged when its stream is over: what it wrote before still goes to those who keep what they get. One that has
/// given enough may end as it likes, before that is known or after: it is not asked how, and not waited for.
pub(crate) fn judge(
    is_stopped: bool,
    stream: Stream,
    producer: Producer,
    consumers: impl IntoIterator<Item = Consumer>,
) -> Verdict {
    if is_stopped || stream == Stream::Failed {
        return Verdict::Bad;
    }
    if stream == Stream::Open {
        return Verdict::Open;
    }
    let is_producer_asked = stream == Stream::Ended;
    if is_producer_asked && producer == Producer::EndedBadly {
        return Verdict::Bad;
    }
    let mut is_behind = false;
    for consumer in consumers {
        match consumer {
            Consumer::Failed => return Verdict::Bad,
            Consumer::Behind => is_behind = true,
            Consumer::Dropped | Consumer::Served => {}
        }
    }
    if is_behind || is_producer_asked && producer == Producer::Running {
        Verdict::Open
    } else {
        Verdict::Good
    }
}

/// What a destination is once no more comes from the source, where the library hands out the bytes. `read`: what was read, which is what
/// the furthest of them has accepted.
///
/// One that has all that it accepted, and accepted less, is cut.
pub(crate) fn consumer_at_end(consumer: Consumer, accepted: u64, read: u64) -> Consumer {
    match consumer {
        Consumer::Served if accepted != read => Consumer::Failed,
        Consumer::Behind | Consumer::Dropped | Consumer::Failed | Consumer::Served => consumer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAMS: [Stream; 4] = [Stream::Ended, Stream::Enough, Stream::Failed, Stream::Open];
    const PRODUCERS: [Producer; 4] = [
        Producer::EndedBadly,
        Producer::EndedWell,
        Producer::Nobody,
        Producer::Running,
    ];
    const CONSUMERS: [Consumer; 4] = [
        Consumer::Behind,
        Consumer::Dropped,
        Consumer::Failed,
        Consumer::Served,
    ];

    /// Every combination, with two destinations, against the rule written the other way round.
    #[test]
    fn the_table() {
        for is_stopped in [false, true] {
            for stream in STREAMS {
                for producer in PRODUCERS {
                    for one in CONSUMERS {
                        for other in CONSUMERS {
                            let verdict = judge(is_stopped, stream, producer, [one, other]);
                            let both = [one, other];
                            let is_all = [Stream::Ended, Stream::Enough].contains(&stream);
                            let is_well = stream == Stream::Enough
                                || [Producer::EndedWell, Producer::Nobody].contains(&producer);
                            let is_good = !is_stopped
                                && is_all
                                && is_well
                                && !both.contains(&Consumer::Behind)
                                && !both.contains(&Consumer::Failed);
                            let is_bad = is_stopped
                                || stream == Stream::Failed
                                || stream == Stream::Ended && producer == Producer::EndedBadly
                                || is_all && both.contains(&Consumer::Failed);
                            let expected = if is_good {
                                Verdict::Good
                            } else if is_bad {
                                Verdict::Bad
                            } else {
                                Verdict::Open
                            };
                            let situation = (is_stopped, stream, producer, both);
                            assert_eq!(verdict, expected, "{situation:?}");
                        }
                    }
                }
            }
        }
    }

    /// Every combination, written out.
    #[test]
    fn the_table_of_acts() {
        use Act::{End, Kill, Wait};
        let rules = [EndRule::AfterVerdict, EndRule::AtOnce, EndRule::IfGood];
        // Each verdict, before and after everything is handed out, and what follows by each of these rules.
        let table = [
            (Verdict::Open, false, [Wait, Wait, Wait]),
            (Verdict::Open, true, [Wait, End, Wait]),
            (Verdict::Good, false, [Wait, Wait, Wait]),
            (Verdict::Good, true, [End, End, End]),
            (Verdict::Bad, false, [Wait, Wait, Kill]),
            (Verdict::Bad, true, [End, End, Kill]),
        ];
        for (verdict, is_drained, acts) in table {
            let told = rules.map(|rule| act(rule, verdict, is_drained));
            assert_eq!(told, acts, "{verdict:?} {is_drained}");
        }
    }

    /// What a promise to a consumer rests on: good only if nothing that is known speaks against it, and never taken back by more
    /// news of the same kind.
    #[test]
    fn nothing_open_is_good() {
        for producer in PRODUCERS {
            let verdict = judge(false, Stream::Open, producer, [Consumer::Served]);
            assert_eq!(verdict, Verdict::Open);
        }
        let running = judge(false, Stream::Ended, Producer::Running, [Consumer::Served]);
        assert_eq!(running, Verdict::Open);
    }

    /// Whether its end is seen before the limit or after it is chance.
    #[test]
    fn who_has_given_enough_may_end_as_it_likes() {
        for producer in PRODUCERS {
            let verdict = |consumer| judge(false, Stream::Enough, producer, [consumer]);
            assert_eq!(verdict(Consumer::Served), Verdict::Good, "{producer:?}");
            assert_eq!(verdict(Consumer::Behind), Verdict::Open, "{producer:?}");
            assert_eq!(verdict(Consumer::Failed), Verdict::Bad, "{producer:?}");
        }
    }

    /// One that is behind is judged when it is known what becomes of it; one that is dropped counts no more.
    #[test]
    fn whoever_has_less_than_another_is_not_served() {
        for consumer in CONSUMERS {
            assert_eq!(consumer_at_end(consumer, 100, 100), consumer);
            for (accepted, read) in [(60, 100), (0, 1), (100, 60)] {
                let expected = match consumer {
                    Consumer::Served => Consumer::Failed,
                    Consumer::Behind | Consumer::Dropped | Consumer::Failed => consumer,
                };
                assert_eq!(consumer_at_end(consumer, accepted, read), expected);
            }
        }
        let short = consumer_at_end(Consumer::Served, 60, 100);
        let consumers = [Consumer::Served, short];
        let verdict = judge(false, Stream::Ended, Producer::Nobody, consumers);
        assert_eq!(verdict, Verdict::Bad);
    }

    #[test]
    fn a_dropped_destination_cuts_nobody_else() {
        let verdict = judge(
            false,
            Stream::Ended,
            Producer::EndedWell,
            [Consumer::Dropped, Consumer::Served],
        );
        assert_eq!(verdict, Verdict::Good);
    }
}
