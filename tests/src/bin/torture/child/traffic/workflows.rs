//! The orchestrations.

use duroxide::{OrchestrationContext, OrchestrationRegistryBuilder};
use duroxide_actix::journal::workflow::{WorkflowActor, WorkflowError, next_event};
use duroxide_actix::journal::{ActorId, DurableMessage};
use tests::torture::traffic::{Anew, CLERK, Line, Note, QUEUE, Raised, Receipt, Way, Word, Work};

pub(super) fn register(
    orchestrations: OrchestrationRegistryBuilder,
) -> OrchestrationRegistryBuilder {
    orchestrations.register("work", work).register("line", line).register("anew", anew)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

fn clerk(ctx: &OrchestrationContext, actor: u32) -> WorkflowActor {
    WorkflowActor::new(ctx, ActorId::new(CLERK, actor.to_string()))
}

/// The reply is where the note is. That of another one is none.
async fn ask(ctx: &OrchestrationContext, actor: u32, note: Note) -> Result<u64, WorkflowError> {
    let word = Word::Note(note.clone());
    let reply: Result<Receipt, String> = clerk(ctx, actor).ask(Word::NAME, &word).await?;
    match reply {
        Ok(Receipt::Noted(by, noted, place)) if by == actor && noted == note => Ok(place),
        wrong => {
            let wrong = Word::Wrong(note.of, format!("{wrong:?} to {:?}", note.way));
            clerk(ctx, actor).tell(Word::NAME, &wrong).await?;
            Ok(0)
        }
    }
}

async fn tell(ctx: &OrchestrationContext, actor: u32, note: Note) -> Result<(), WorkflowError> {
    clerk(ctx, actor).tell(Word::NAME, &Word::Note(note)).await
}

/// Asks an actor, tells another one, and returns where the first has it.
async fn work(ctx: OrchestrationContext, input: String) -> Result<String, String> {
    let Work { of, asked, told } = serde_json::from_str(&input).map_err(text)?;
    let place = ask(&ctx, asked, Note::new(of, Way::Asked)).await.map_err(text)?;
    tell(&ctx, told, Note::new(of, Way::Told)).await.map_err(text)?;
    Ok(place.to_string())
}

/// Tells an actor of every event.
async fn line(ctx: OrchestrationContext, input: String) -> Result<String, String> {
    let Line { line, life, chunk, asks } = serde_json::from_str(&input).map_err(text)?;
    for _ in 0..chunk {
        let event = next_event(&ctx, QUEUE).await;
        let Raised { of, from } = serde_json::from_str(&event).map_err(text)?;
        let note = Note::new(of, Way::Event { line, life, from });
        while let Err(error) = match asks {
            true => ask(&ctx, line, note.clone()).await.map(drop),
            false => tell(&ctx, line, note.clone()).await,
        } {
            // A step that duroxide has lost with its store was another one.
            if !error.is_retryable() {
                return Err(error.to_string());
            }
        }
    }
    ctx.continue_as_new(input).await
}

/// Asks some actors.
async fn anew(ctx: OrchestrationContext, input: String) -> Result<String, String> {
    let Anew { place, life, of, asked } = serde_json::from_str(&input).map_err(text)?;
    for (part, actor) in (0..).zip(asked) {
        let note = Note::new(of, Way::Anew { place, life, part });
        ask(&ctx, actor, note).await.map_err(text)?;
    }
    Ok(life.to_string())
}
