//! An actor killed at every moment that makes a difference.

use serde_json::Value;

use super::deviation::{self, Aspect, Deviation, Moment};
use super::stage::{Given, Stage};
use crate::error::JournalError;

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
        let undisturbed = self.image(Moment::Crash(*moments.end())).await?;
        let count = moments.clone().count();
        for writes in moments {
            let moment = Moment::Crash(writes);
            let failed = |error: String| self.failed(moment, error);
            let mut after = self.after(writes).await.map_err(|error| failed(error.to_string()))?;
            for (given, _) in self.played() {
                after.give(given.clone()).await.map_err(|error| failed(error.to_string()))?;
            }
            let image = after.image(moment).await?;
            for ((aspect, expected), (_, found)) in undisturbed.iter().zip(image) {
                if *expected != found {
                    let (actor, expected) = (self.actor().clone(), expected.clone());
                    let aspect = aspect.clone();
                    return Err(Box::new(Deviation { actor, moment, aspect, expected, found }));
                }
            }
        }
        Ok(count)
    }

    /// Everything that the outside can see.
    async fn image(&self, moment: Moment) -> Result<Vec<(Aspect, Value)>, Box<Deviation>> {
        let played = self.played();
        let mut image = Vec::with_capacity(played.len() + 2);
        for (number, (Given { kind, .. }, delivered)) in (1..).zip(played) {
            image.push((Aspect::Reply(number, kind.clone()), deviation::reply(delivered)));
        }
        let failed = |error: JournalError| self.failed(moment, error.to_string());
        let look = self.look().await.map_err(failed)?;
        image.push((Aspect::State, look.state()));
        image.push((Aspect::Sent, deviation::sent(&look.sent)));
        Ok(image)
    }

    fn failed(&self, moment: Moment, error: String) -> Box<Deviation> {
        let (actor, aspect) = (self.actor().clone(), Aspect::Start);
        Box::new(Deviation { actor, moment, aspect, expected: Value::Null, found: error.into() })
    }
}
