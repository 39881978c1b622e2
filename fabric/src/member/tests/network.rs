//! The network of the tests: one clock, one heap of happenings, one seed.

use super::*;

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) fn node(index: u32) -> NodeId {
    NodeId(u128::from(index) + 1)
}

pub(super) fn index(node: NodeId) -> u32 {
    u32::try_from(node.0 - 1).unwrap()
}

pub(super) fn address(index: u32) -> PeerAddress {
    std::format!("10.0.0.{index}:4150").parse().unwrap()
}

/// What a machine said about another: its index, its incarnation, whom it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Up(u32, u64, Option<u64>),
    Down(u32, Why),
}

#[derive(Debug)]
enum Happening {
    Input(u32, Input),
    Wake(u32),
}

struct Node {
    machine: Membership,
    incarnation: u64,
    is_running: bool,
    paused_until: Instant,
    links: BTreeSet<u32>,
}

pub(super) struct Network {
    pub(super) now: Instant,
    /// Of ten thousand packets.
    pub(super) loss: u32,
    /// Who hears nothing.
    pub(super) deaf: BTreeSet<u32>,
    pub(super) timing: Timing,
    pub(super) heard: Vec<(Instant, u32, Heard)>,
    pub(super) facts: Vec<(Instant, u32, Fact)>,
    /// Packets and bytes.
    pub(super) sent: (u64, u64),
    /// How often a machine was woken because it wanted to be.
    pub(super) wakes: u64,
    pub(super) recording: bool,
    recorded: Vec<(u32, Input)>,
    island: BTreeSet<u32>,
    nodes: Vec<Node>,
    heap: BTreeMap<(Instant, u64), Happening>,
    happenings: u64,
    rng: Rng,
}

impl Network {
    /// All linked with all.
    pub(super) fn started(size: u32, seed: u64) -> Self {
        let mut net = Self {
            now: Instant::START,
            loss: 0,
            deaf: BTreeSet::new(),
            timing: Timing::DEFAULT,
            heard: Vec::new(),
            facts: Vec::new(),
            sent: (0, 0),
            wakes: 0,
            recording: false,
            recorded: Vec::new(),
            island: BTreeSet::new(),
            nodes: Vec::new(),
            heap: BTreeMap::new(),
            happenings: 0,
            rng: Rng::from_seed(seed),
        };
        for index in 0..size {
            let machine = net.fresh(index, 1);
            let (links, paused_until) = (BTreeSet::new(), Instant::START);
            net.nodes.push(Node { machine, incarnation: 1, is_running: true, paused_until, links });
        }
        net.link_all();
        net
    }

    /// Anew, with the timing as it is.
    pub(super) fn rebuild(&mut self) {
        self.heap.clear();
        for index in 0..self.nodes.len() as u32 {
            self.nodes[index as usize].machine = self.fresh(index, 1);
            self.nodes[index as usize].links.clear();
        }
        self.link_all();
    }

    fn link_all(&mut self) {
        for a in 0..self.nodes.len() as u32 {
            (0..a).for_each(|b| self.link(a, b));
        }
    }

    fn fresh(&mut self, index: u32, incarnation: u64) -> Membership {
        let life = Life { node: node(index), incarnation: Incarnation(incarnation) };
        let rng = self.rng.stream(u64::from(index) + incarnation * 1000);
        Membership::new(life, address(index), self.timing, rng)
    }

    pub(super) fn machine(&self, index: u32) -> &Membership {
        &self.nodes[index as usize].machine
    }

    pub(super) fn incarnation(&self, index: u32) -> u64 {
        self.nodes[index as usize].incarnation
    }

    pub(super) fn link(&mut self, a: u32, b: u32) {
        for (at, to) in [(a, b), (b, a)] {
            self.nodes[at as usize].links.insert(to);
            let incarnation = Incarnation(self.incarnation(to));
            self.input(at, Input::LinkUp { node: node(to), incarnation });
        }
    }

    pub(super) fn unlink(&mut self, a: u32, b: u32) {
        for (at, to) in [(a, b), (b, a)] {
            self.nodes[at as usize].links.remove(&to);
            self.input(at, Input::LinkDown { node: node(to), end: LinkEnd::Closed });
        }
    }

    pub(super) fn input(&mut self, index: u32, input: Input) {
        self.schedule(self.now, Happening::Input(index, input));
    }

    fn schedule(&mut self, at: Instant, what: Happening) {
        self.happenings += 1;
        self.heap.insert((at, self.happenings), what);
    }

    /// Nobody inside hears anybody outside.
    pub(super) fn cut(&mut self, inside: &[u32]) {
        self.island = inside.iter().copied().collect();
    }

    pub(super) fn heal(&mut self) {
        self.island.clear();
    }

    pub(super) fn pause(&mut self, index: u32, span: Duration) {
        self.nodes[index as usize].paused_until = self.now + span;
    }

    pub(super) fn crash(&mut self, index: u32, is_noticed: bool) {
        self.nodes[index as usize].is_running = false;
        for peer in core::mem::take(&mut self.nodes[index as usize].links) {
            self.nodes[peer as usize].links.remove(&index);
            if is_noticed {
                let end = LinkEnd::Lost;
                self.input(peer, Input::LinkDown { node: node(index), end });
            }
        }
    }

    pub(super) fn restart(&mut self, index: u32) {
        let incarnation = self.incarnation(index) + 1;
        let machine = self.fresh(index, incarnation);
        let back = &mut self.nodes[index as usize];
        (back.machine, back.incarnation, back.is_running) = (machine, incarnation, true);
        for other in (0..self.nodes.len() as u32).filter(|other| *other != index) {
            if self.nodes[other as usize].is_running {
                self.link(index, other);
            }
        }
    }

    /// Delivers what was recorded once more.
    pub(super) fn replay(&mut self) {
        for (to, input) in core::mem::take(&mut self.recorded) {
            self.input(to, input);
        }
    }

    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(entry) = self.heap.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), what) = entry.remove_entry();
            self.now = at;
            let (Happening::Input(index, _) | Happening::Wake(index)) = &what;
            let at_node = &self.nodes[*index as usize];
            if self.now < at_node.paused_until {
                self.schedule(at_node.paused_until, what);
                continue;
            }
            match what {
                Happening::Input(index, input) => self.handle(index, input),
                Happening::Wake(index) => self.handle(index, Input::Tick),
            }
        }
        self.now = end;
    }

    fn handle(&mut self, index: u32, input: Input) {
        let at_node = &mut self.nodes[index as usize];
        if !at_node.is_running {
            return;
        }
        let mut effects = Vec::new();
        let before = at_node.machine.deadline();
        self.wakes += u64::from(before.is_some_and(|(at, _)| at <= self.now));
        at_node.machine.handle(input, self.now, &mut effects);
        let after = at_node.machine.deadline();
        assert_ne!(after.map(|(at, _)| at < self.now), Some(true), "a deadline in the past");
        if let Some((at, _)) = after.filter(|after| Some(*after) != before) {
            self.schedule(at, Happening::Wake(index));
        }
        effects.into_iter().for_each(|effect| self.perform(index, effect));
    }

    fn perform(&mut self, from: u32, effect: Effect) {
        match effect {
            Effect::Send { to, packet } => self.send(from, index(to), packet),
            Effect::MemberUp { member, replaces } => {
                let Member { node, incarnation, address } = member;
                assert_eq!(address, self::address(index(node)));
                let replaces = replaces.map(|old| old.0);
                self.hear(from, Heard::Up(index(node), incarnation.0, replaces));
            }
            Effect::MemberDown { node, why, .. } => self.hear(from, Heard::Down(index(node), why)),
            Effect::Renew { above } => {
                let own = &mut self.nodes[from as usize];
                own.incarnation = own.incarnation.max(above.0) + 1;
                let incarnation = Incarnation(own.incarnation);
                let stored = self.now + ms(5);
                self.schedule(stored, Happening::Input(from, Input::Renewed { incarnation }));
            }
            Effect::Left => self.crash(from, true),
            Effect::Fact(fact) => self.facts.push((self.now, from, fact)),
        }
    }

    fn hear(&mut self, at: u32, heard: Heard) {
        self.heard.push((self.now, at, heard));
    }

    fn send(&mut self, from: u32, to: u32, packet: Vec<u8>) {
        self.sent = (self.sent.0 + 1, self.sent.1 + packet.len() as u64);
        match ShortPacket::is_it(&packet) {
            true => drop(ShortPacket::parse(&packet).expect("what is sent can be read")),
            false => drop(Packet::parse(&packet).expect("what is sent can be read")),
        }
        let input = Input::Received { from: node(from), packet };
        if self.recording {
            self.recorded.push((to, input.clone()));
        }
        let is_lost = self.rng.below(10_000) < self.loss;
        let is_cut = self.island.contains(&from) != self.island.contains(&to);
        if !is_lost && !is_cut && !self.deaf.contains(&to) {
            let delay = Duration::from_micros(u64::from(200 + self.rng.below(1800)));
            self.schedule(self.now + delay, Happening::Input(to, input));
        }
    }

    #[track_caller]
    pub(super) fn assert_complete(&self) {
        let runs = |index: &u32| self.nodes[*index as usize].is_running;
        let running: BTreeSet<u32> = (0..self.nodes.len() as u32).filter(runs).collect();
        for who in &running {
            let seen: BTreeMap<u32, u64> = self
                .machine(*who)
                .members()
                .map(|member| (index(member.node), member.incarnation.0))
                .collect();
            let others = running.iter().filter(|other| *other != who);
            let want = others.map(|other| (*other, self.incarnation(*other))).collect();
            assert_eq!(seen, want, "as {who} sees it");
        }
    }

    #[track_caller]
    pub(super) fn assert_nobody_was_down(&self) {
        let downs = self.heard.iter().filter(|(_, _, heard)| matches!(heard, Heard::Down(..)));
        assert_eq!(downs.collect::<Vec<_>>(), Vec::<&(Instant, u32, Heard)>::new());
    }
}
