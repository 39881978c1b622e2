//! The bugs: of every part at least one that shows in rare cases alone.
//!
//! What is not here because another mechanism does the same is named in docs/TESTING.md.

use super::Planted;

pub const ALL: &[Planted] = &[
    // Membership, and who is heard when.
    Planted {
        name: "renewal_is_forgotten",
        file: "fabric/src/control.rs",
        from: "self.member(member::Input::Renewed { incarnation }, now, out);",
        to: "let _ = incarnation;",
    },
    Planted {
        name: "time_stands_still",
        file: "fabric/src/control.rs",
        from: "self.member(member::Input::Tick, now, out);",
        to: "()",
    },
    Planted {
        name: "suspects_are_given_twice_the_time",
        file: "fabric/src/member.rs",
        from: "self.timing.suspicion * stretch",
        to: "self.timing.suspicion * stretch * 2",
    },
    Planted {
        name: "members_of_earlier_lives_win",
        file: "fabric/src/member/swim.rs",
        from: "adversary.life.incarnation < self.life.incarnation",
        to: "self.life.incarnation < adversary.life.incarnation",
    },
    // Goodbyes.
    Planted {
        name: "goodbye_is_not_heard",
        file: "fabric/src/member/receive.rs",
        from: "Some((record.life, reason))",
        to: "{ let _ = reason; None }",
    },
    Planted {
        name: "who_leaves_takes_nothing_back",
        file: "fabric/src/control/cluster.rs",
        from: "self.spread(gossip::Input::Leave, now, out);",
        to: "()",
    },
    // Dials and links.
    Planted {
        name: "earlier_life_wins",
        file: "fabric/src/dial/links.rs",
        from: "b.incarnation.cmp(&a.incarnation)",
        to: "a.incarnation.cmp(&b.incarnation)",
    },
    Planted {
        name: "dials_without_bound",
        file: "fabric/src/dial/target.rs",
        from: "DIALS_MAX <= self.dials_open()",
        to: "DIALS_MAX < self.dials_open()",
    },
    Planted {
        name: "seed_of_a_lost_node_is_given_up",
        file: "fabric/src/dial/target.rs",
        from: "self.link(node).is_none() && !self.peers.contains_key(&node)",
        to: "false",
    },
    Planted {
        name: "failed_dial_is_not_repeated",
        file: "fabric/src/dial.rs",
        from: "self.dial_failed(&address, now)",
        to: "()",
    },
    // Gossip: what is told, compared and asked for.
    Planted {
        name: "gossip_is_not_renewed",
        file: "fabric/src/control.rs",
        from: "self.spread(gossip::Input::Renewed(incarnation), now, out);",
        to: "()",
    },
    Planted {
        name: "old_heads_are_news",
        file: "fabric/src/catalog/learn.rs",
        from: "head.version.incarnation < feed.incarnation",
        to: "false",
    },
    // Leases and tombstones.
    Planted {
        name: "lapsed_leases_are_kept",
        file: "fabric/src/gossip.rs",
        from: "self.catalog.expire(now, &mut self.changed)",
        to: "self.catalog.expire(Instant::START, &mut self.changed)",
    },
    Planted {
        name: "death_does_not_end_offers",
        file: "fabric/src/control/cluster.rs",
        from: "self.spread(gossip::Input::NodeDead { node, incarnation }, now, out);",
        to: "()",
    },
    Planted {
        name: "foreign_deaths_are_final",
        file: "fabric/src/catalog/learn.rs",
        from: "head.beat <= feed.beat + BEATS_IN_FLIGHT",
        to: "true",
    },
    Planted {
        name: "the_dead_are_forgotten_at_once",
        file: "fabric/src/catalog/learn.rs",
        from: "self.end(id, incarnation, State::Over, until, out);",
        to: "{ self.end(id, incarnation, State::Over, until, out); self.forget(id); }",
    },
    Planted {
        name: "beats_come_too_seldom",
        file: "fabric/src/gossip.rs",
        from: "self.beat_at = now + self.options.lifetimes.lease / BEATS_PER_LEASE;",
        to: "self.beat_at = now + self.options.lifetimes.lease * 2;",
    },
    // Routes.
    Planted {
        name: "routes_keep_lost_peers",
        file: "fabric/src/control/ways.rs",
        from: "self.route(route::Input::PeerDown { peer }, now, out);",
        to: "()",
    },
    Planted {
        name: "old_news_of_gateways_count",
        file: "fabric/src/route/inside.rs",
        from: "held.is_none_or(|held| held.version < version)",
        to: "{ let _ = held; true }",
    },
    Planted {
        name: "mates_are_not_told_of",
        file: "fabric/src/link_state.rs",
        from: "self.ways.has_other_mates(&before)",
        to: "false",
    },
    // Forwarding.
    Planted {
        name: "loops_are_accepted",
        file: "fabric/src/way.rs",
        from: "peer == self.here.node || flow.trail.nodes.contains(peer)",
        to: "peer == self.here.node",
    },
    Planted {
        name: "entered_clusters_pass_on_to_one_node",
        file: "fabric/src/hop.rs",
        from: "wanted.nodes.iter().for_each(|&node| self.node(node));",
        to: "wanted.nodes.iter().take(1).for_each(|&node| self.node(node));",
    },
    Planted {
        name: "links_cost_nothing",
        file: "fabric/src/hop.rs",
        from: "self.hop_budget - 1",
        to: "self.hop_budget",
    },
    Planted {
        name: "open_circuits_carry",
        file: "fabric/src/way.rs",
        from: "Err(Reason::LinkOpenCircuit)",
        to: "Ok(peer)",
    },
    // Interest.
    Planted {
        name: "wants_are_never_taken_back",
        file: "fabric/src/want.rs",
        from: "out.extend(earlier.map(|_| Effect::Retract { scope, kind, name }));",
        to: "let _ = (scope, kind, earlier);",
    },
    // Calls of functions.
    Planted {
        name: "calls_that_came_before_run_again",
        file: "fabric/src/call/serve.rs",
        from: "verdict != Verdict::Fresh",
        to: "false",
    },
    Planted {
        name: "calls_of_an_earlier_life_are_run",
        file: "fabric/src/call/serve.rs",
        from: "ask.life != self.life",
        to: "false",
    },
    Planted {
        name: "what_was_refused_is_not_remembered",
        file: "fabric/src/call/serve.rs",
        from: "!self.window.note(call, false, step.now)",
        to: "false",
    },
    Planted {
        name: "one_part_more_is_taken_for_come",
        file: "fabric/src/call/serve.rs",
        from: "served.first < have",
        to: "served.first <= have",
    },
    Planted {
        name: "answers_are_kept_whatever_they_take",
        file: "fabric/src/call/serve.rs",
        from: "self.bounds.answers_bytes_max < self.served_bytes + bytes",
        to: "false",
    },
    Planted {
        name: "one_lost_copy_is_taken_for_all",
        file: "fabric/src/call/far.rs",
        from: "all && self.copies <= COPIES && !self.is_accepted",
        to: "0 < self.dropped",
    },
    Planted {
        name: "parts_are_taken_twice",
        file: "fabric/src/call/hear.rs",
        from: "part != far.have",
        to: "far.have < part",
    },
    Planted {
        name: "others_are_asked_whatever_may_have_run",
        file: "fabric/src/call/ask.rs",
        from: "match ran {
            Ran::No => true,
            Ran::Perhaps => spare.is_idempotent,
            Ran::Failed => false,
        }",
        to: "ran != Ran::Failed",
    },
    Planted {
        name: "failures_forget_who_is_still_at_it",
        file: "fabric/src/call/ask.rs",
        from: "failure.may_have_run = open.may_have_run();",
        to: "failure.may_have_run = open.may_have_run;",
    },
    Planted {
        name: "nodes_that_failed_count_as_busy",
        file: "fabric/src/call/ask.rs",
        from: "let one = open.tries[by].take().expect(\"it was just found\");
        self.free(one.endpoint, step);",
        to: "open.tries[by] = None;",
    },
    Planted {
        name: "deadlines_are_looked_at_late",
        file: "fabric/src/call/open.rs",
        from: "tries.chain(hedge).fold(self.until, Instant::min)",
        to: "tries.chain(hedge).fold(self.until + CALL_DEADLINE_DEFAULT, Instant::min)",
    },
    Planted {
        name: "answered_jobs_keep_their_place",
        file: "fabric/src/call/job.rs",
        from: "self.free(endpoint, step);",
        to: "let _ = endpoint;",
    },
    Planted {
        name: "withdrawn_jobs_free_their_place",
        file: "fabric/src/call/job.rs",
        from: "job.client = Client::Nobody;",
        to: "job.client = Client::Nobody; self.functions.end(job.endpoint, &mut Vec::new());",
    },
    Planted {
        name: "streams_of_calls_are_never_forgotten",
        file: "fabric/src/call/window.rs",
        from: "self.sweep_at.get_or_insert(now + CALL_STREAM_IDLE);",
        to: "let _ = now;",
    },
    Planted {
        name: "workers_get_one_more_than_they_take",
        file: "fabric/src/function/select.rs",
        from: "limit <= in_flight",
        to: "limit < in_flight",
    },
];
