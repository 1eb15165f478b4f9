//! An actor killed at every moment that makes a difference.

use serde_json::Value;

use super::deviation::{self, Aspect, Deviation, Moment};
use super::look::Look;
use super::stage::{Given, Stage};
use super::value::Typed;
use crate::mailbox::error_text;

impl Stage {
    /// Kills the actor behind each write of its journal so far, lets its callers send everything
    /// again under the same ids, and compares the replies, the state and what it sent with those of
    /// the run that nothing disturbed. Returns how many moments there were.
    ///
    /// These are all the moments that can be told apart from the outside: what was not written is
    /// gone with the process. An actor that deviates has something besides its durable state on which
    /// it depends: a field that is not stored, the clock, a random number, a side effect that is no
    /// step, what a hook or an interval sends. Each moment runs the handlers anew, in an actor that the
    /// host makes, while the undisturbed one goes on; give them test doubles for the outside world.
    ///
    /// # Errors
    /// The first deviation.
    pub async fn survive_crashes(&self) -> Result<usize, Box<Deviation>> {
        let moments = self.moments();
        let undisturbed = self.seen(Moment::Crash(*moments.end())).await?;
        let types = self.types();
        let typed = Typed { types: &types, actor: self.actor() };
        let count = moments.clone().count();
        for writes in moments {
            let moment = Moment::Crash(writes);
            let failed = |error: String| self.failed(moment, error);
            let mut after = self.after(writes).await.map_err(|error| failed(error_text(&error)))?;
            for (given, _) in self.played() {
                after.give(given.clone()).await.map_err(|error| failed(error_text(&error)))?;
            }
            let (played, look) = (after.played(), after.seen(moment).await?);
            let deviation = |aspect: Aspect, expected: Value, found: Value| {
                let actor = self.actor().clone();
                Err(Box::new(Deviation { actor, moment, aspect, expected, found }))
            };
            let undisturbed_played = (1..).zip(self.played());
            for ((number, (Given { kind, .. }, expected)), (_, found)) in
                undisturbed_played.zip(played)
            {
                let (expected, found) = (typed.reply(kind, expected), deviation::reply(found));
                if expected.difference(&found).is_some() {
                    let aspect = Aspect::Reply(number, kind.clone());
                    return deviation(aspect, expected.into_value(), found);
                }
            }
            let expected = typed.state(undisturbed.state.as_ref());
            if expected.difference(&look.state()).is_some() {
                return deviation(Aspect::State, expected.into_value(), look.state());
            }
            if !typed.same_sent(&undisturbed.sent, &look.sent, false) {
                let (expected, found) = (&undisturbed.sent, &look.sent);
                let (expected, found) = (deviation::sent(expected), deviation::sent(found));
                return deviation(Aspect::Sent, expected, found);
            }
        }
        Ok(count)
    }

    async fn seen(&self, moment: Moment) -> Result<Look, Box<Deviation>> {
        self.look().await.map_err(|error| self.failed(moment, error_text(&error)))
    }

    fn failed(&self, moment: Moment, error: String) -> Box<Deviation> {
        let (actor, aspect) = (self.actor().clone(), Aspect::Start);
        Box::new(Deviation { actor, moment, aspect, expected: Value::Null, found: error.into() })
    }
}
