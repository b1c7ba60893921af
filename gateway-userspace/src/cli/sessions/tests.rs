use std::{collections::VecDeque, time::Duration};

use super::{
    replay::{Items, Speed, replay},
    *,
};
use crate::audit::{
    ApprovalDecided, ApprovalNeed, ApprovalRequested, Direction, Entry, Event, Item, Phase,
    ReadError, RecordedMessage, SessionClosed, SessionOpened, StatementDecided, StatementRecord,
};

impl Items for VecDeque<Item> {
    fn next(&mut self) -> Result<Option<Item>, ReadError> {
        Ok(self.pop_front())
    }

    fn is_missing(&self) -> bool {
        false
    }
}

fn entry(at_ms: u64, event: Event) -> Item {
    Item::Entry(Box::new(Entry {
        index: 7,
        time: "2026-01-02T03:04:05.600000Z".into(),
        mono_ns: at_ms * 1_000_000,
        event: Some(event),
    }))
}

fn message(at_ms: u64, tag: u8, body: &[u8]) -> Item {
    Item::Message(RecordedMessage {
        mono_ns: at_ms * 1_000_000,
        time: "2026-01-02T03:04:05.600000Z".into(),
        direction: Direction::Backend,
        tag,
        blotted: false,
        body: body.to_vec(),
        withheld: None,
    })
}

/// The session of [`session`] as its transcript has it: half a second in a statement with two
/// rows, a minute later one that is held and denied.
fn items() -> VecDeque<Item> {
    let SessionRecord {
        opened,
        statements,
        closed,
        ..
    } = session();
    let mut items = VecDeque::from([entry(1, Event::SessionOpened(opened))]);
    for statement in statements {
        let at = statement.mono_ns / 1_000_000;
        items.push_back(entry(at, Event::StatementDecided(statement.decided)));
        if let Some(done) = statement.completed {
            items.push_back(message(
                at + 1,
                b'T',
                b"\0\x01id\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0",
            ));
            items.push_back(message(at + 1, b'D', b"\0\x01\0\0\0\x02\x1b1"));
            items.push_back(message(at + 1, b'D', b"\0\x01\xff\xff\xff\xff"));
            items.push_back(message(at + 1, b'C', b"SELECT 2\0"));
            items.push_back(entry(at + 2, Event::StatementCompleted(done)));
        }
        for event in statement
            .requested
            .into_iter()
            .map(Event::ApprovalRequested)
        {
            items.push_back(entry(at, event));
        }
        for event in statement.answers.into_iter().map(Event::ApprovalDecided) {
            items.push_back(entry(at, event));
        }
    }
    if let Some((_, closed)) = closed {
        items.push_back(entry(60_000, Event::SessionClosed(closed)));
    }
    items
}

fn statement(number: u64, at_ms: u64, text: &str, decision: Decision) -> StatementRecord {
    StatementRecord {
        index: number,
        time: "2026-01-02T03:04:05.600000Z".into(),
        mono_ns: at_ms * 1_000_000,
        decided: StatementDecided {
            session: "ses-1".into(),
            statement: number,
            phase: Phase::Simple,
            text: text.into(),
            parameters: vec![Some("it's \u{430}".into()), None],
            relations: Vec::new(),
            effects: Vec::new(),
            decision,
            policy: "p".into(),
            masked: vec!["email: partial".into()],
            search_path: Vec::new(),
            approval: None,
        },
        requested: None,
        answers: Vec::new(),
        completed: None,
    }
}

fn session() -> SessionRecord {
    let mut first = statement(
        1,
        500,
        "SELECT '\u{1b}]0;title\u{7}'",
        Decision::Allow {
            grants: vec!["g".into()],
        },
    );
    first.completed = Some(StatementCompleted {
        session: "ses-1".into(),
        statement: 1,
        rows: 2,
        bytes: 30,
        cells_masked: 1,
        duration_us: 1_500,
        outcome: Outcome::Ok,
        result_sha256: None,
    });
    let mut second = statement(
        2,
        60_000,
        "DELETE FROM orders",
        Decision::Approve {
            grants: vec!["g".into()],
            rule: "g: approve[0]".into(),
            reason: "deletes rows".into(),
        },
    );
    second.requested = Some(ApprovalRequested {
        approval: "apr-1".into(),
        needs: vec![ApprovalNeed {
            group: Some("dba".into()),
            count: 1,
        }],
        ..ApprovalRequested::default()
    });
    second.answers = vec![ApprovalDecided {
        by: "alice".into(),
        reason: Some("no".into()),
        ..ApprovalDecided::default()
    }];
    SessionRecord {
        opened_at: "2026-01-02T03:04:05.100000Z".into(),
        opened_ns: 0,
        opened: SessionOpened {
            session: "ses-1".into(),
            ..SessionOpened::default()
        },
        statements: vec![first, second],
        closed: Some((
            "2026-01-02T03:06:00.000000Z".into(),
            SessionClosed {
                reason: "client left".into(),
                ..SessionClosed::default()
            },
        )),
    }
}

#[test]
fn a_replay_keeps_order_and_pace_and_cannot_disturb_the_terminal() {
    let mut output = Output::new(Vec::new(), false, false, 80);
    let mut pauses = Vec::new();
    let pause = |gap| pauses.push(gap);
    replay(&mut output, &mut items(), Speed::Times(2.0), 1, pause).unwrap();
    let text = String::from_utf8(output.into_inner()).unwrap();
    let mut at = 0;
    for needle in [
        "+0.499s",
        "SELECT",
        "| id",
        "| <U+001B>1",
        "| ... 1 rows more",
        "ok: 2 rows",
        "DELETE",
        "held as apr-1, for 1 of dba",
        "denied by alice: no",
        "closed: client left",
    ] {
        let found = text.get(at..).and_then(|rest| rest.find(needle));
        at += found.unwrap_or_else(|| panic!("{needle} is missing, or too early, in {text}"));
    }
    assert!(text.contains("$1 = 'it''s <U+0430>'") && text.contains("$2 = NULL"));
    assert!(text.contains("'<U+001B>]0;title<U+0007>'"));
    assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'));
    pauses.retain(|gap| !gap.is_zero());
    // Half a second, a result, its end, then a minute cut to five seconds: all halved.
    assert_eq!(
        pauses,
        [
            Duration::from_micros(249_500),
            Duration::from_micros(500),
            Duration::from_micros(500),
            Duration::from_millis(2_500)
        ]
    );
    let mut output = Output::new(Vec::new(), false, false, 80);
    replay(&mut output, &mut items(), Speed::Max, 0, |_| {
        panic!("a replay at full speed waits")
    })
    .unwrap();
    let text = String::from_utf8(output.into_inner()).unwrap();
    assert!(
        text.contains("| NULL") && !text.contains("rows more"),
        "{text}"
    );
}

#[test]
fn a_speed_is_a_factor_or_max() {
    for (text, speed) in [
        ("1x", Speed::Times(1.0)),
        ("0.5x", Speed::Times(0.5)),
        ("4", Speed::Times(4.0)),
        ("max", Speed::Max),
    ] {
        assert_eq!(text.parse(), Ok(speed));
    }
    for wrong in ["", "x", "0", "-1x", "NaN", "inf", "fast"] {
        assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
    }
}

#[test]
fn programs_get_json_that_reads_back() {
    let mut output = Output::new(Vec::new(), true, false, 80);
    show(&mut output, &session()).unwrap();
    replay(&mut output, &mut items(), Speed::Times(1.0), 1, |_| {
        panic!("JSON waits for nobody")
    })
    .unwrap();
    let text = String::from_utf8(output.into_inner()).unwrap();
    let values: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(values.len(), 1 + items().len());
    assert_eq!(values[2]["event"]["decision"]["is"], "allow");
    assert_eq!(values[3]["message"], "RowDescription");
    assert_eq!(values[3]["columns"][0], "id");
    assert_eq!(values[5]["values"][0], serde_json::Value::Null);
    assert_eq!(values[6]["text"], "SELECT 2");
}

#[test]
fn tables_show_verdicts_and_outcomes() {
    let mut output = Output::new(Vec::new(), false, true, 200);
    show(&mut output, &session()).unwrap();
    let text = String::from_utf8(output.into_inner()).unwrap();
    assert!(
        text.contains("\u{1b}[32mallow\u{1b}[0m") && text.contains("\u{1b}[33mhold\u{1b}[0m"),
        "{text}"
    );
}
