//! The world of the tests: connections with latency, and an oracle that says who is a member.

use std::collections::BTreeMap;

use super::*;

pub(super) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(super) fn node(index: u32) -> NodeId {
    // Ids in no order of indices' neighbourhood, as keys are.
    NodeId((u128::from(index) + 1) << 64 | 7)
}

pub(super) fn address(index: u32) -> PeerAddress {
    std::format!("node-{index}:4150").parse().unwrap()
}

fn index_of(address: &PeerAddress) -> u32 {
    let (host, _) = address.as_str().split_once(':').unwrap();
    host.strip_prefix("node-").unwrap().parse().unwrap()
}

#[derive(Debug)]
enum Happening {
    Input(u32, Input),
    /// A dial arrives.
    Knock {
        from: u32,
        to: u32,
    },
    /// All others find out that it failed.
    Found(u32),
}

struct Node {
    machine: Dialler,
    incarnation: u64,
    is_running: bool,
    is_member: bool,
    /// The machine's deadline, as it is listed in `due`.
    due: Option<Instant>,
}

/// Two ends of a connection: whose, and its number there.
type Ends = [(u32, LinkId); 2];

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) dials: usize,
    pub(super) history: Vec<(Instant, u32, Effect)>,
    nodes: Vec<Node>,
    links: Vec<Ends>,
    numbers: u64,
    /// Nodes below this and the others do not reach each other.
    wall: u32,
    heap: BTreeMap<(Instant, u64), Happening>,
    due: BTreeSet<(Instant, u32)>,
    happenings: u64,
    rng: Rng,
}

impl World {
    /// All begin at once with node 0 as their seed.
    pub(super) fn started(size: u32, seed: u64) -> Self {
        let rng = Rng::from_seed(seed);
        let nodes = (0..size).map(|index| Node {
            machine: Dialler::new(node(index), Timing::DEFAULT, rng.stream(index.into())),
            incarnation: 0,
            is_running: false,
            is_member: false,
            due: None,
        });
        let mut world = Self {
            now: Instant::START,
            dials: 0,
            history: Vec::new(),
            nodes: nodes.collect(),
            links: Vec::new(),
            numbers: 0,
            wall: 0,
            heap: BTreeMap::new(),
            due: BTreeSet::new(),
            happenings: 0,
            rng,
        };
        (0..size).for_each(|index| world.start(index));
        world
    }

    pub(super) fn start(&mut self, index: u32) {
        let rng = self.rng.stream(self.now.as_nanos() + u64::from(index));
        let own = &mut self.nodes[index as usize];
        own.machine = Dialler::new(node(index), Timing::DEFAULT, rng);
        own.incarnation += 1;
        own.is_running = true;
        let seeds = std::vec![address(0), address(10.min(self.nodes.len() as u32 - 1))];
        self.soon(Happening::Input(index, Input::Seeds(seeds)));
    }

    pub(super) fn linked(&self, index: u32) -> BTreeSet<u32> {
        let linked = self.nodes[index as usize].machine.linked();
        linked.map(|node| u32::try_from(node.0 >> 64).unwrap() - 1).collect()
    }

    pub(super) fn links_open(&self) -> usize {
        self.links.len()
    }

    pub(super) fn leave(&mut self, index: u32) {
        self.tell_gone(index, Gone::Left);
        self.soon(Happening::Input(index, Input::Stop));
        self.stop(index, End::Closed);
    }

    pub(super) fn crash(&mut self, index: u32) {
        self.stop(index, End::Lost);
        self.happen(self.now + ms(700), Happening::Found(index));
    }

    /// Nodes below `wall` on one side.
    pub(super) fn cut(&mut self, wall: u32) {
        self.wall = wall;
        let is_across = |ends: &Ends| (ends[0].0 < wall) != (ends[1].0 < wall);
        let (across, links): (Vec<Ends>, Vec<Ends>) = self.links.iter().partition(|e| is_across(e));
        self.links = links;
        across.into_iter().for_each(|ends| self.break_link(ends, End::Lost));
        for at in 0..self.nodes.len() as u32 {
            for other in 0..self.nodes.len() as u32 {
                if self.is_cut(at, other) {
                    let input = self.gone(other, Gone::Failed);
                    self.happen(self.now + ms(700), Happening::Input(at, input));
                }
            }
        }
    }

    pub(super) fn heal(&mut self) {
        self.wall = 0;
    }

    fn is_cut(&self, a: u32, b: u32) -> bool {
        (a < self.wall) != (b < self.wall)
    }

    fn stop(&mut self, index: u32, end: End) {
        let own = &mut self.nodes[index as usize];
        (own.is_running, own.is_member) = (false, false);
        let is_its = |ends: &Ends| ends.iter().any(|(at, _)| *at == index);
        let (broken, links): (Vec<Ends>, Vec<Ends>) = self.links.iter().partition(|e| is_its(e));
        self.links = links;
        broken.into_iter().for_each(|ends| self.break_link(ends, end));
    }

    fn break_link(&mut self, ends: Ends, end: End) {
        for (at, link) in ends {
            self.soon(Happening::Input(at, Input::LinkDown { link, end }));
        }
    }

    fn gone(&self, index: u32, how: Gone) -> Input {
        let incarnation = Incarnation(self.nodes[index as usize].incarnation);
        Input::MemberDown { node: node(index), incarnation, how }
    }

    fn tell_gone(&mut self, index: u32, how: Gone) {
        for other in 0..self.nodes.len() as u32 {
            let input = self.gone(index, how);
            self.soon(Happening::Input(other, input));
        }
    }

    /// Who has its first link is a member from then on, and hears of the others.
    fn tell_member(&mut self, index: u32) {
        self.nodes[index as usize].is_member = true;
        for other in 0..self.nodes.len() as u32 {
            for (about, to) in [(index, other), (other, index)] {
                let about_node = &self.nodes[about as usize];
                if about == to || !about_node.is_member || self.is_cut(about, to) {
                    continue;
                }
                let incarnation = Incarnation(about_node.incarnation);
                let (node, address) = (node(about), address(about));
                let input = Input::MemberUp { node, incarnation, address };
                self.soon(Happening::Input(to, input));
            }
        }
    }

    fn soon(&mut self, what: Happening) {
        let delay = Duration::from_micros(u64::from(300 + self.rng.below(700)));
        self.happen(self.now + delay, what);
    }

    fn happen(&mut self, at: Instant, what: Happening) {
        self.happenings += 1;
        self.heap.insert((at, self.happenings), what);
    }

    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let due = self.due.first().copied();
            let next = self.heap.first_key_value().map(|((at, _), _)| *at);
            match (due, next) {
                (Some((at, index)), next) if at <= end && next.is_none_or(|next| at < next) => {
                    self.now = self.now.max(at);
                    self.handle(index, Input::Tick);
                }
                (_, Some(at)) if at <= end => {
                    let (_, what) = self.heap.pop_first().unwrap();
                    self.now = at;
                    self.happened(what);
                }
                (_, _) => break,
            }
        }
        self.now = end;
    }

    fn happened(&mut self, what: Happening) {
        match what {
            Happening::Input(index, input) => self.handle(index, input),
            Happening::Knock { from, to } => self.knock(from, to),
            Happening::Found(index) => self.tell_gone(index, Gone::Failed),
        }
    }

    fn knock(&mut self, from: u32, to: u32) {
        let is_open = self.nodes[to as usize].is_running
            && self.nodes[from as usize].is_running
            && !self.is_cut(from, to);
        if !is_open {
            let failed = Input::DialFailed { address: address(to) };
            return self.soon(Happening::Input(from, failed));
        }
        let number = |world: &mut Self| {
            world.numbers += 1;
            LinkId(world.numbers)
        };
        let (at_dialler, at_acceptor) = (number(self), number(self));
        self.links.push([(from, at_dialler), (to, at_acceptor)]);
        let origin = Origin::Dialled { address: address(to) };
        for (at, link, other, origin) in
            [(from, at_dialler, to, origin), (to, at_acceptor, from, Origin::Accepted)]
        {
            let incarnation = Incarnation(self.nodes[other as usize].incarnation);
            let input =
                Input::LinkUp { link, node: node(other), incarnation, origin, is_abroad: false };
            self.soon(Happening::Input(at, input));
        }
    }

    fn handle(&mut self, index: u32, input: Input) {
        if let Some(due) = self.nodes[index as usize].due.take() {
            self.due.remove(&(due, index));
        }
        if !self.nodes[index as usize].is_running {
            return;
        }
        let mut effects = Vec::new();
        let own = &mut self.nodes[index as usize];
        own.machine.handle(input, self.now, &mut effects);
        assert!(own.machine.dials_open() <= DIALS_MAX);
        own.due = own.machine.deadline().map(|(at, _)| at);
        assert!(own.due.is_none_or(|at| self.now < at), "nothing left to do");
        self.due.extend(own.due.map(|at| (at, index)));
        for effect in effects {
            self.history.push((self.now, index, effect.clone()));
            match effect {
                Effect::Dial { address, .. } => {
                    self.dials += 1;
                    let to = index_of(&address);
                    self.soon(Happening::Knock { from: index, to });
                }
                Effect::Close { link, .. } => {
                    let place = self.links.iter().position(|ends| ends.contains(&(index, link)));
                    if let Some(place) = place {
                        let ends = self.links.swap_remove(place);
                        self.break_link(ends, End::Closed);
                    }
                }
                Effect::LinkChosen { node: to, .. } => {
                    if !self.nodes[index as usize].is_member && to != node(index) {
                        self.tell_member(index);
                    }
                }
                Effect::NodeLost { .. } => {}
            }
        }
    }
}
