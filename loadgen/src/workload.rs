//! Workloads: named shapes of traffic, and how their counts become topics and subscriptions.
//!
//! ```text
//!   one-to-one, churn   topics: the larger of C and S. Topic t: publisher t % C, subscriber t % S.
//!   many-to-many        one topic: all C publish, all S subscribe.
//!   fan-out, slow       C topics, one per publisher; all S subscribe to all.
//!   topics              T topics. Topic t: publisher t % C, subscriber (t / C) % S, so neighbouring
//!                       messages of one publisher go to different subscribers.
//!   wildcard            T topics in groups, `G.d`; each subscriber has its own group by one of
//!                       `G.*`, `G.>`, `G.#` and one device by `*.d`, which overlap. Where `#` is
//!                       no wildcard, `G.>` takes its place.
//!   request-reply       as one-to-one; subscribers answer, publishers wait for the answers.
//! ```

use clap::ValueEnum;

/// The names outside scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// Each message reaches one subscriber; with C = S, pairs that share nothing.
    OneToOne,
    /// Every publisher reaches every subscriber, over one topic.
    ManyToMany,
    /// Every publisher reaches every subscriber, over a topic of its own.
    FanOut,
    /// Many topics, each with one subscriber; publishers use theirs in turn.
    Topics,
    /// Many topics, subscribed to by overlapping patterns.
    Wildcard,
    /// Fan-out, with further subscribers that never read.
    SlowSubscribers,
    /// One-to-one, while other connections are opened, subscribed and closed all the time.
    Churn,
    /// Publishers ask, subscribers answer; what is measured is the round trip.
    RequestReply,
}

/// What subscriptions mean, where protocols differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `#` is a wildcard; a connection gets one copy of a message, however many of its patterns match.
    Native,
    /// `#` is none; a connection gets a copy for each of its patterns that matches.
    Nats,
}

/// A workload with its counts.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub workload: Workload,
    pub publishers_count: usize,
    pub subscribers_count: usize,
    /// Topics asked for; only `topics` and `wildcard` let it be chosen.
    pub topics_wanted: usize,
    pub dialect: Dialect,
}

impl Workload {
    pub fn name(self) -> String {
        self.to_possible_value().expect("no variant is skipped").get_name().to_owned()
    }

    pub fn has_topics_option(self) -> bool {
        matches!(self, Self::Topics | Self::Wildcard)
    }
}

impl Shape {
    pub fn topics_count(&self) -> usize {
        match self.workload {
            Workload::OneToOne | Workload::Churn | Workload::RequestReply => {
                self.publishers_count.max(self.subscribers_count)
            }
            Workload::ManyToMany => 1,
            Workload::FanOut | Workload::SlowSubscribers => self.publishers_count,
            Workload::Topics | Workload::Wildcard => self.topics_wanted.max(self.publishers_count),
        }
    }

    /// Topics `publisher` publishes to, in turn.
    pub fn topics_of(&self, publisher: usize) -> impl Iterator<Item = usize> {
        let (first, step) = match self.workload {
            Workload::ManyToMany => (0, 1),
            Workload::OneToOne
            | Workload::FanOut
            | Workload::Topics
            | Workload::Wildcard
            | Workload::SlowSubscribers
            | Workload::Churn
            | Workload::RequestReply => (publisher, self.publishers_count),
        };
        (first..self.topics_count()).step_by(step)
    }

    /// The subscriber of `topic`, in workloads where it is one.
    pub fn subscriber_of(&self, topic: usize) -> usize {
        match self.workload {
            Workload::Topics => topic / self.publishers_count % self.subscribers_count,
            Workload::OneToOne
            | Workload::ManyToMany
            | Workload::FanOut
            | Workload::Wildcard
            | Workload::SlowSubscribers
            | Workload::Churn
            | Workload::RequestReply => topic % self.subscribers_count,
        }
    }

    /// The inverse of [`Shape::subscriber_of`]: in `topics`, runs of one topic per publisher.
    fn topics_heard(&self, subscriber: usize) -> impl Iterator<Item = usize> {
        let run = if self.workload == Workload::Topics { self.publishers_count } else { 1 };
        let topics_count = self.topics_count();
        (subscriber * run..topics_count)
            .step_by(run * self.subscribers_count)
            .flat_map(move |first| first..(first + run).min(topics_count))
    }

    /// Which of its hearer's patterns `topic` matches, in workloads where that is one.
    pub fn pattern_of(&self, topic: usize) -> usize {
        match self.workload {
            Workload::ManyToMany | Workload::FanOut | Workload::SlowSubscribers => topic,
            Workload::Topics => {
                let run = self.publishers_count;
                topic / (run * self.subscribers_count) * run + topic % run
            }
            Workload::OneToOne | Workload::Churn | Workload::RequestReply => {
                topic / self.subscribers_count
            }
            Workload::Wildcard => 0,
        }
    }

    /// In the wildcard workload, the subscriber that has the group of `topic`: by its first pattern.
    /// All others hear it by their second.
    pub fn group_of(&self, topic: usize) -> usize {
        topic % self.groups_count()
    }

    /// The name of topic number `topic`; all names of a shape are equally long.
    pub fn topic_name(&self, token: &str, topic: usize) -> String {
        match self.workload {
            Workload::Wildcard => {
                let (group, device) = (topic % self.groups_count(), topic / self.groups_count());
                let group = padded(group, self.groups_count());
                let device = padded(device, self.devices_count());
                format!("load.{token}.{group}.{device}")
            }
            Workload::OneToOne
            | Workload::ManyToMany
            | Workload::FanOut
            | Workload::Topics
            | Workload::SlowSubscribers
            | Workload::Churn
            | Workload::RequestReply => {
                format!("load.{token}.{}", padded(topic, self.topics_count()))
            }
        }
    }

    /// What `subscriber` subscribes to.
    pub fn patterns(&self, token: &str, subscriber: usize) -> Vec<String> {
        match self.workload {
            Workload::ManyToMany | Workload::FanOut | Workload::SlowSubscribers => {
                (0..self.topics_count()).map(|topic| self.topic_name(token, topic)).collect()
            }
            Workload::OneToOne | Workload::Topics | Workload::Churn | Workload::RequestReply => {
                self.topics_heard(subscriber).map(|topic| self.topic_name(token, topic)).collect()
            }
            Workload::Wildcard => {
                let group = padded(subscriber, self.groups_count());
                let rest = match self.dialect {
                    Dialect::Native => ["*", ">", "#"][subscriber % 3],
                    Dialect::Nats => ["*", ">", ">"][subscriber % 3],
                };
                let device = padded(subscriber % self.devices_count(), self.devices_count());
                vec![format!("load.{token}.{group}.{rest}"), format!("load.{token}.*.{device}")]
            }
        }
    }

    /// In the wildcard workload, those whose patterns match `topic`, in ascending order: the one
    /// with its group, and those with its device. The one that is both is there as often as it gets
    /// a copy.
    pub fn hearers(&self, topic: usize) -> impl Iterator<Item = usize> {
        let (group, device) = (self.group_of(topic), topic / self.groups_count());
        let by_device = (device..self.subscribers_count).step_by(self.devices_count());
        let before: Vec<_> =
            by_device.clone().take_while(|&subscriber| subscriber < group).collect();
        let after = by_device.skip_while(move |&subscriber| subscriber <= group);
        let is_both = group % self.devices_count() == device;
        let copies = if is_both && self.dialect == Dialect::Nats { 2 } else { 1 };
        before.into_iter().chain(std::iter::repeat_n(group, copies)).chain(after)
    }

    /// Groups of the wildcard workload: one per subscriber.
    fn groups_count(&self) -> usize {
        self.subscribers_count
    }

    fn devices_count(&self) -> usize {
        self.topics_count().div_ceil(self.groups_count())
    }
}

/// `index` in as many digits as the last of `count` needs.
fn padded(index: usize, count: usize) -> String {
    let width = (count - 1).max(1).ilog10() as usize + 1;
    format!("{index:0width$}")
}
