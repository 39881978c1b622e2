//! What can go wrong, one enum per operation, one variant per thing a caller does differently.

use std::io;
use std::time::Duration;

use mpreg_proto::call::{CallError, Failure};
use mpreg_proto::error::ErrorCode;
use mpreg_proto::frame::Why;
use mpreg_proto::function::{ConstraintError, FunctionNameError, ResourceError, VersionError};

use crate::url::ParseUrlError;
use crate::workers::Dismissed;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("router address")]
    Url(#[from] ParseUrlError),
    /// No connection, or it broke during the handshake; retried until the attempts are used up.
    #[error("reaching the router")]
    Io(#[from] io::Error),
    /// Retried until the attempts are used up.
    #[error("no answer from the router within {deadline:?}")]
    Timeout { deadline: Duration },
    /// Retried when the router is full or stopping, final otherwise.
    #[error("router refused the connection: {code} {text}")]
    Refused { code: ErrorCode, text: String },
    /// Whatever listens there does not speak this protocol, or not this version.
    #[error("not a router that speaks this protocol: {code}")]
    NotARouter { code: ErrorCode },
}

impl ConnectError {
    /// Whether a further attempt can end differently.
    pub(crate) fn is_retriable(&self) -> bool {
        match self {
            Self::Io(_) | Self::Timeout { .. } => true,
            Self::Refused { code, .. } => matches!(
                code,
                ErrorCode::TooManyConnections
                    | ErrorCode::ShuttingDown
                    | ErrorCode::OutOfMemory
                    | ErrorCode::HandshakeTimeout
            ),
            Self::Url(_) | Self::NotARouter { .. } => false,
        }
    }
}

/// Why a connection ended. The client reconnects unless it was closed or drained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disconnect {
    #[error("router closed the connection")]
    HungUp,
    #[error("connection broke: {0}")]
    Io(io::ErrorKind),
    /// Nothing was heard, and pings went unanswered.
    #[error("router is silent")]
    Silent,
    #[error("router ended the session: {code} {text}")]
    Refused { code: ErrorCode, text: String },
    /// What the router sent is not this protocol.
    #[error("router sent a frame that is {0}")]
    Malformed(ErrorCode),
    /// Not every subscription was confirmed in time after a reconnect.
    #[error("router did not confirm the subscriptions")]
    Unconfirmed,
    /// The client was closed and the router did not hang up in time.
    #[error("router did not hang up in time")]
    CloseTimeout,
}

/// Why a message was not taken for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error("not a topic")]
    BadTopic,
    #[error("reply topic is not a topic")]
    BadReply,
    #[error("topics under mpreg. are published by the fabric alone")]
    ReservedTopic,
    #[error("message is larger than the router takes")]
    TooLarge,
    #[error("client is closed")]
    Closed,
}

/// Why there is no subscription.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    #[error("not a pattern")]
    BadPattern,
    #[error("group name is too long")]
    BadGroup,
    #[error("router refused the subscription: {code} {text}")]
    Refused { code: ErrorCode, text: String },
    #[error("client is drained")]
    Drained,
    #[error("client is closed")]
    Closed,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Nobody is subscribed to the topic.
    #[error("nobody is subscribed to the topic")]
    NoResponders,
    #[error("no reply in time")]
    Timeout,
    /// As many requests are pending as may be.
    #[error("too many requests are pending")]
    TooMany,
    #[error("sending the request")]
    Publish(#[source] PublishError),
    /// The subscription that replies arrive on was refused.
    #[error("subscribing to replies")]
    Subscribe(#[source] SubscribeError),
    #[error("client is drained")]
    Drained,
    #[error("client is closed")]
    Closed,
}

impl From<PublishError> for RequestError {
    fn from(error: PublishError) -> Self {
        if error == PublishError::Closed { Self::Closed } else { Self::Publish(error) }
    }
}

impl From<SubscribeError> for RequestError {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::Drained => Self::Drained,
            SubscribeError::Closed => Self::Closed,
            SubscribeError::BadPattern
            | SubscribeError::BadGroup
            | SubscribeError::Refused { .. } => Self::Subscribe(error),
        }
    }
}

/// Why a reply was not taken for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The message asked for none.
    #[error("message has no reply topic")]
    NotARequest,
    /// Whoever asked has stopped waiting.
    #[error("deadline of the request has passed")]
    Expired,
    #[error("sending the reply")]
    Publish(#[source] PublishError),
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailed {
    /// Whoever was to run it, or a node on the way there, says so; or nobody said anything in time.
    #[error("{0}")]
    Failed(Box<Failure>),
    #[error(transparent)]
    Name(#[from] FunctionNameError),
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    #[error(transparent)]
    Resource(#[from] ResourceError),
    #[error("{0:?} is not the name of a cluster")]
    Cluster(String),
    /// Only what may run twice can be asked for twice.
    #[error("call is hedged and not idempotent")]
    Hedge,
    #[error("value is larger than the router takes")]
    TooLarge,
    /// As many calls are pending as may be.
    #[error("too many calls are pending")]
    TooMany,
    /// The connection was lost while the call was open: it may have run.
    #[error("connection was lost")]
    Disconnected,
    /// The function answers in parts: `stream` takes them.
    #[error("function answers in parts")]
    Streamed,
    /// The parts of the result came faster than they were taken.
    #[error("result came faster than it was taken")]
    Overrun,
    #[error("router knows no functions")]
    Unsupported,
    #[error("client is drained")]
    Drained,
    #[error("client is closed")]
    Closed,
}

impl CallFailed {
    /// The word for it, as the fabric has them; `None`: the call could not be made at all.
    pub fn code(&self) -> Option<CallError> {
        match self {
            Self::Failed(failure) => Some(failure.error),
            Self::Name(_)
            | Self::Constraint(_)
            | Self::Resource(_)
            | Self::Cluster(_)
            | Self::Hedge
            | Self::TooLarge => Some(CallError::Malformed),
            Self::TooMany | Self::Overrun => Some(CallError::Overloaded),
            Self::Disconnected => Some(CallError::Unreachable),
            Self::Streamed | Self::Unsupported | Self::Drained | Self::Closed => None,
        }
    }

    /// Whether the function may have been started; if not, calling again is safe.
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::Failed(failure) => failure.may_have_run,
            Self::Disconnected | Self::Streamed | Self::Overrun => true,
            Self::Drained | Self::Closed => true,
            Self::Name(_)
            | Self::Constraint(_)
            | Self::Resource(_)
            | Self::Cluster(_)
            | Self::Hedge
            | Self::TooLarge
            | Self::TooMany
            | Self::Unsupported => false,
        }
    }
}

impl From<Failure> for CallFailed {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.into())
    }
}

/// Why a function is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Name(#[from] FunctionNameError),
    #[error(transparent)]
    Version(#[from] VersionError),
    #[error(transparent)]
    Resource(#[from] ResourceError),
    #[error("router refused the function: {} {text}", why.word())]
    Refused { why: Why, text: String },
    #[error("router knows no functions")]
    Unsupported,
    #[error("client is drained")]
    Drained,
    #[error("client is closed")]
    Closed,
}

impl From<Dismissed> for ServeError {
    fn from(why: Dismissed) -> Self {
        match why {
            Dismissed::Refused { why, text } => Self::Refused { why, text },
            Dismissed::Unsupported => Self::Unsupported,
            Dismissed::Drained => Self::Drained,
            Dismissed::Unregistered | Dismissed::Closed => Self::Closed,
        }
    }
}

/// Why an answer to a job was not taken for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// The connection the job came on is lost: nobody is there to hear of it.
    #[error("connection was lost")]
    Disconnected,
    #[error("value is larger than the router takes")]
    TooLarge,
    #[error("client is closed")]
    Closed,
}

/// Why a flush did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlushError {
    /// The connection was lost first: what was published may or may not have arrived.
    #[error("connection was lost")]
    Disconnected,
    #[error("too many flushes are pending")]
    TooMany,
    #[error("client is closed")]
    Closed,
}

/// Why a drain did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DrainError {
    /// There is no connection, or it was lost first: messages may have been missed.
    #[error("connection was lost")]
    Disconnected,
    /// The router has not said in time that nothing more will come.
    #[error("router did not finish the drain in time")]
    Timeout,
    /// A drain came before this one.
    #[error("client is drained already")]
    Drained,
    #[error("client is closed")]
    Closed,
}

/// What a close could not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// Published messages were given up unsent: there was no connection to send them on, or not in
    /// time.
    #[error("{bytes} bytes of messages were not sent")]
    Unsent { bytes: usize },
    /// Everything was written, but the router did not hang up in time to confirm it.
    #[error("router did not confirm the close")]
    Unconfirmed,
}
