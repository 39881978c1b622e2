//! Goodbyes and what else is said about who is there.

use mpreg_proto::error::ErrorCode;
use mpreg_proto::member::{Condition, LeaveReason, Saying, ShortPacket};

use super::*;
use crate::member::Rejection;

const GOODBYE: Condition = Condition::Left(LeaveReason::Shutdown);

fn goodbye(link: u64, by: Life, of: Life) -> Sent {
    packet(link, by, vec![word(of, GOODBYE)])
}

fn short(link: u64, incarnation: u64) -> Sent {
    let (source, target) = (Incarnation(incarnation), Incarnation(5));
    let saying = Saying::Ping { probe: 1 };
    let mut body = Vec::new();
    ShortPacket { refutation: 0, source, target, saying, records: vec![] }.put(&mut body);
    Sent { link, plane: Plane::Member, body }
}

pub(super) fn all() -> Vec<Attack> {
    let (mate, twelve) = (life(11, 1), life(12, 1));
    let twin = || goodbye(1, mate, mate);
    let row = |name, sent, why| attack(name, sent, twin(), Why::Member(why));
    let known = || packet(1, mate, vec![word(twelve, Condition::Alive)]);
    let again = || packet(1, mate, vec![word(life(12, 7), Condition::Alive)]);
    let about = |of, condition| packet(1, mate, vec![word(of, condition)]);
    let late = |name, sent| row(name, sent, Rejection::Outlived).after([known(), again()]);
    let noise = Sent { link: 1, plane: Plane::Member, body: vec![9, 1, 2] };
    vec![
        row(
            "a goodbye of a node of ours, from outside",
            goodbye(2, life(20, 1), mate),
            Rejection::Foreign,
        ),
        row(
            "our own goodbye, from outside",
            goodbye(2, life(20, 1), life(10, 5)),
            Rejection::Foreign,
        ),
        row(
            "a goodbye in the name of a node of ours, from outside",
            goodbye(2, mate, mate),
            Rejection::Foreign,
        ),
        row("a member of another cluster", packet(2, life(20, 1), vec![]), Rejection::Foreign),
        row("a goodbye in our own name", goodbye(1, life(10, 5), life(10, 5)), Rejection::Impostor),
        late("a goodbye of an earlier life", about(twelve, GOODBYE)),
        late("the death of an earlier life", about(twelve, Condition::Down)),
        late("an earlier life", about(twelve, Condition::Alive)),
        row(
            "our last possible life",
            about(life(10, u64::MAX), Condition::Alive),
            Rejection::LastIncarnation,
        ),
        row("a short word of a life nobody knows", short(1, 3), Rejection::Stranger),
        row("noise", noise, Rejection::Malformed(ErrorCode::Malformed)),
    ]
}
