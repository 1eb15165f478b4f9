//! One message on its way through a durable actor: its handler, its reply, its sender.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix::dev::{MessageResponse, OneshotSender};
use actix::{Actor, Handler, Message};
use shared_journal::mailbox::{Resolution, Work, error_text};
use shared_journal::{Codec, CodecError, Outcome, Payload};
use tokio::sync::oneshot;

use crate::error::{AskError, Fate};
use crate::message::Form;

/// A message of some type, as the driver sees it.
pub(crate) trait Job<A: Actor>: Send {
    /// The stable name of the message's type.
    fn name(&self) -> &'static str;

    /// Encodes the message.
    fn encode(&self, codec: Codec) -> Result<Payload<'static>, CodecError>;

    /// Takes the message as its payload says it.
    fn verify(&mut self, payload: &Payload<'_>) -> Result<(), CodecError>;

    /// Takes the reply as its payload says it.
    fn verify_reply(&mut self, payload: &Payload<'_>) -> Result<(), CodecError>;

    /// As [`encode`](Self::encode); if values are checked the message is taken as its payload says it.
    fn encode_checked(
        &mut self,
        codec: Codec,
        checks: bool,
    ) -> Result<Payload<'static>, CodecError> {
        let payload = self.encode(codec)?;
        if checks {
            self.verify(&payload)?;
        }
        Ok(payload)
    }

    /// As [`poll`](Self::poll); if values are checked the reply is taken as its payload says it.
    fn poll_checked(
        &mut self,
        codec: Codec,
        checks: bool,
        cx: Option<&mut Context<'_>>,
    ) -> Poll<Result<Payload<'static>, ReplyError>> {
        self.poll(codec, cx).map(|reply| {
            let reply = reply?;
            if checks {
                self.verify_reply(&reply).map_err(ReplyError::Encode)?;
            }
            Ok(reply)
        })
    }

    /// What the message is about, if that can be said.
    fn fingerprint(&self) -> Option<u64>;

    /// Whether `payload` is a message of this type, decoding it if it was not yet.
    fn decode(&mut self, payload: &Payload<'_>) -> Result<(), CodecError>;

    /// Calls the handler with the decoded message.
    fn start(&mut self, act: &mut A, ctx: &mut A::Context);

    /// The encoded reply, if there is one already; with a task context, registers for it.
    fn poll(
        &mut self,
        codec: Codec,
        cx: Option<&mut Context<'_>>,
    ) -> Poll<Result<Payload<'static>, ReplyError>>;

    /// The message is about to be in the mailbox.
    fn accepted(&mut self);

    /// The message goes nowhere.
    fn refuse(self: Box<Self>, error: AskError);

    /// The message's commit is durable, or will never be.
    fn resolve(self: Box<Self>, resolution: Resolution);
}

pub(crate) type BoxJob<A> = Box<dyn Job<A>>;

impl<A: Actor> Work for BoxJob<A> {
    fn resolve(self, resolution: Resolution) {
        Job::resolve(self, resolution);
    }
}

/// A handler that left no reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplyError {
    #[error("the handler dropped the reply: its future panicked or was cancelled")]
    Dropped,
    #[error("the reply does not encode")]
    Encode(#[source] CodecError),
}

pub(crate) struct TypedJob<M: Message> {
    form: Arc<Form<M>>,
    /// Until the handler takes it.
    message: Option<M>,
    /// From the handler.
    reply: Option<oneshot::Receiver<M::Result>>,
    /// Until it may be released.
    result: Option<M::Result>,
    sender: Option<OneshotSender<M::Result>>,
    fate: Option<Arc<Fate>>,
}

impl<M: Message> TypedJob<M> {
    pub(crate) fn new(
        form: Arc<Form<M>>,
        message: M,
        sender: Option<OneshotSender<M::Result>>,
        fate: Option<Arc<Fate>>,
    ) -> Self {
        Self { form, message: Some(message), reply: None, result: None, sender, fate }
    }

    /// For a message that an earlier process received: nobody waits for its reply.
    pub(crate) fn recovered(form: Arc<Form<M>>) -> Self {
        Self { form, message: None, reply: None, result: None, sender: None, fate: None }
    }

    fn fail(&self, error: impl FnOnce(&Fate) -> AskError) {
        if let Some(fate) = &self.fate {
            fate.failed(error(fate));
        }
    }

    /// The message was received before, with this outcome.
    fn recorded(mut self, outcome: Outcome) {
        match outcome {
            Outcome::Processed(reply) => match (self.form.decode_result)(&reply) {
                Ok(result) => self.reply(result),
                Err(error) => self.fail(|fate| AskError::Reply {
                    id: fate.id(),
                    error: error_text(&error).into(),
                }),
            },
            Outcome::Failed { attempts, error } => self.fail(|fate| AskError::DeadLetter {
                id: fate.id(),
                attempts,
                error: error.into(),
            }),
            _ => {
                self.sender = None;
                self.fail(|fate| AskError::AlreadyProcessed { id: fate.id() });
            }
        }
    }

    fn reply(self, result: M::Result) {
        if let Some(sender) = self.sender {
            // A sender that stopped waiting changes nothing.
            let _ = sender.send(result);
        }
    }
}

impl<A, M> Job<A> for TypedJob<M>
where
    A: Actor + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn name(&self) -> &'static str {
        self.form.name
    }

    fn encode(&self, codec: Codec) -> Result<Payload<'static>, CodecError> {
        match &self.message {
            Some(message) => (self.form.encode)(codec, message),
            // Not reached: only a message that came from a sender is encoded.
            None => Ok(Payload::new(codec, Vec::new())),
        }
    }

    fn verify(&mut self, payload: &Payload<'_>) -> Result<(), CodecError> {
        self.message = Some((self.form.verify)(payload)?);
        Ok(())
    }

    fn verify_reply(&mut self, payload: &Payload<'_>) -> Result<(), CodecError> {
        self.result = Some((self.form.verify_result)(payload)?);
        Ok(())
    }

    fn fingerprint(&self) -> Option<u64> {
        (self.form.fingerprint)(self.message.as_ref()?).ok()
    }

    fn decode(&mut self, payload: &Payload<'_>) -> Result<(), CodecError> {
        if self.message.is_none() {
            self.message = Some((self.form.decode)(payload)?);
        }
        Ok(())
    }

    fn start(&mut self, act: &mut A, ctx: &mut A::Context) {
        let (sender, receiver) = oneshot::channel();
        self.reply = Some(receiver);
        self.result = None;
        if let Some(message) = self.message.take() {
            <A as Handler<M>>::handle(act, message, ctx).handle(ctx, Some(sender));
        }
    }

    fn poll(
        &mut self,
        codec: Codec,
        cx: Option<&mut Context<'_>>,
    ) -> Poll<Result<Payload<'static>, ReplyError>> {
        let Some(receiver) = &mut self.reply else {
            return Poll::Ready(Err(ReplyError::Dropped));
        };
        let received = match cx {
            Some(cx) => Pin::new(receiver).poll(cx).map_err(drop),
            None => match receiver.try_recv() {
                Ok(result) => Poll::Ready(Ok(result)),
                Err(oneshot::error::TryRecvError::Empty) => Poll::Pending,
                Err(oneshot::error::TryRecvError::Closed) => Poll::Ready(Err(())),
            },
        };
        received.map(|received| {
            self.reply = None;
            let result = received.map_err(|()| ReplyError::Dropped)?;
            let payload = (self.form.encode_result)(codec, &result).map_err(ReplyError::Encode)?;
            self.result = Some(result);
            Ok(payload)
        })
    }

    fn accepted(&mut self) {
        if let Some(fate) = &self.fate {
            fate.accepted();
        }
    }

    fn refuse(self: Box<Self>, error: AskError) {
        self.fail(|_| error);
    }

    fn resolve(mut self: Box<Self>, resolution: Resolution) {
        match resolution {
            Resolution::Processed => {
                if let Some(result) = self.result.take() {
                    self.reply(result);
                }
            }
            Resolution::Recorded(outcome) => self.recorded(outcome),
            Resolution::Refused(error) => self.fail(|_| AskError::refused(error)),
            Resolution::IdReused => self.fail(|fate| AskError::IdReused { id: fate.id() }),
            Resolution::Failed { attempts, error } => {
                self.fail(|fate| AskError::DeadLetter { id: fate.id(), attempts, error });
            }
            Resolution::Unknown(error) => {
                self.fail(|fate| AskError::OutcomeUnknown { id: fate.id(), source: Some(error) });
            }
            _ => self.fail(|fate| AskError::OutcomeUnknown { id: fate.id(), source: None }),
        }
    }
}
