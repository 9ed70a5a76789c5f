//! `discodeit dead-letters`: lists the jobs that no node could do, does them again, or drops them.

use std::{collections::HashSet, io::Write, sync::Arc};

use crate::{
    commands::CommandError,
    config::Config,
    events::kafka::{DeadLetter, Kafka},
    metrics::Metrics,
    model::{Event, instant},
    store,
};

/// Maximum dead letters that one run reads.
const MAX_LETTERS: usize = 10_000;

/// What happens to the dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// They stay.
    List,
    /// The nodes do their jobs again.
    Retry,
    /// They are deleted.
    Drop,
}

/// Runs the command and writes a line for each dead letter.
///
/// A job is done again through the outbox, so none is lost when this process ends in between, and a job that was done already has no
/// effect. A record that this version cannot read stays, as do those after it in its partition, until it is dropped.
///
/// # Errors
/// See [`CommandError`].
pub async fn run(
    config: &Config,
    action: Action,
    mut output: impl Write,
) -> Result<(), CommandError> {
    let metrics = Arc::new(Metrics::new());
    let kafka = Arc::new(Kafka::new(config, metrics.clone())?);
    let letters = kafka.clone().dead_letters(MAX_LETTERS).await?;
    for letter in &letters {
        write_letter(&mut output, letter)?;
    }
    let jobs: Vec<Event> = letters
        .iter()
        .filter_map(|letter| letter.event.clone())
        .collect();
    let (readable, unreadable) = (jobs.len(), letters.len() - jobs.len());
    match action {
        Action::List => writeln!(output, "there are {} dead letters", letters.len())?,
        Action::Drop => {
            let places: Vec<_> = letters.iter().map(DeadLetter::place).collect();
            kafka.delete_dead_letters(&places).await?;
            writeln!(output, "dropped: {} dead letters", letters.len())?;
        }
        Action::Retry => {
            let db = store::pool(config, metrics).map_err(CommandError::Setting)?;
            store::outbox::insert(&db, jobs).await?;
            db.close().await;
            kafka
                .delete_dead_letters(&before_unreadable(&letters))
                .await?;
            writeln!(output, "to be done again: {readable} dead letters")?;
            if unreadable > 0 {
                writeln!(
                    output,
                    "not readable by this version: {unreadable}; `drop` deletes them"
                )?;
            }
        }
    }
    if letters.len() == MAX_LETTERS {
        writeln!(output, "there may be more; run the command again")?;
    }
    Ok(())
}

/// The places of the letters without an unreadable one before them in their partition: Kafka deletes only from its start.
fn before_unreadable(letters: &[DeadLetter]) -> Vec<(i32, i64)> {
    let mut kept = HashSet::new();
    let mut places = Vec::new();
    for letter in letters {
        if letter.event.is_none() {
            kept.insert(letter.partition);
        } else if !kept.contains(&letter.partition) {
            places.push(letter.place());
        }
    }
    places
}

fn write_letter(output: &mut impl Write, letter: &DeadLetter) -> Result<(), std::io::Error> {
    let time = letter.time.map(instant::format).unwrap_or_default();
    let (partition, offset) = letter.place();
    let id = letter.event.as_ref().map(|event| event.id.to_string());
    // The reason and the origin may come from anybody who can write to the topic.
    writeln!(
        output,
        "{partition}/{offset} {time} {} {} {}",
        id.as_deref().unwrap_or("unreadable"),
        letter.from.escape_debug(),
        letter.reason.escape_debug()
    )
}
