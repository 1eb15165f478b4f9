//! What every [`ActorProvider`] must do, as tests that run on any of them.
//!
//! The stores of this crate pass every case of [`CASES`]; run them on yours. A case gets an empty
//! store and opens it as often as it likes, as processes would.
//!
//! ```
//! use std::sync::Arc;
//! use shared_journal::provider_test::CASES;
//! use shared_journal::sqlite::SqliteActorProvider;
//! use shared_journal::{ActorProvider, Durability};
//!
//! let dir = tempfile::tempdir().unwrap();
//! for case in CASES {
//!     let path = dir.path().join(case.name);
//!     case.run(&|| SqliteActorProvider::open(&path, Durability::ProcessCrash).unwrap());
//! }
//! ```
//!
//! With libtest-mimic each case becomes a test with a name of its own.

mod cluster;
mod cut_short;
mod interloper;
mod journal;
mod keys;
mod store;

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use crate::provider::ActorProvider;

/// Opens the store of one case.
pub type Open<'a> = &'a (dyn Fn() -> Arc<dyn ActorProvider> + Sync);

/// One promise of a store.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its name, as an identifier.
    pub name: &'static str,
    case: fn(&Suite<'_>),
}

impl Case {
    /// Runs the case on a store that is empty now. `open` is called on threads that may block,
    /// inside the context of a tokio runtime.
    ///
    /// # Panics
    /// The store broke the promise.
    pub fn run(&self, open: Open<'_>) {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let suite = Suite { open, runtime: runtime.expect("a runtime for the case") };
        let _context = suite.runtime.enter();
        (self.case)(&suite);
    }
}

struct Suite<'a> {
    open: Open<'a>,
    runtime: Runtime,
}

macro_rules! cases {
    ($($module:ident::$name:ident,)*) => {
        /// Every case.
        pub const CASES: &[Case] =
            &[$(Case { name: stringify!($name), case: $module::$name }),*];
    };
}

cases! {
    store::a_new_shard_is_empty,
    store::every_opening_is_a_new_epoch,
    store::a_head_is_read_without_becoming_the_owner,
    store::commits_are_read_in_order_and_in_slices,
    store::a_repeated_write_is_applied_once,
    store::another_commit_in_the_same_place_is_refused,
    store::a_replaced_owner_is_fenced_and_writes_nothing,
    store::shards_are_apart,
    store::records_are_found_by_name_and_by_number,
    store::records_are_replaced,
    store::dead_letters_are_rows_beside_the_records,
    keys::keys_are_rows_beside_the_records,
    keys::old_keys_go_and_those_of_a_deleted_actor,
    store::listings_are_in_order_filtered_and_in_pages,
    store::checkpoints_move_and_the_log_before_them_goes,
    store::any_bytes_and_any_names_come_back,
    store::shards_that_commit_at_once_each_get_their_own_outcome,
    store::a_shard_is_written_many_times_over,
    cut_short::a_write_that_is_cut_short_happened_or_did_not,
    cut_short::an_opening_that_is_cut_short_leaves_a_shard_that_opens,
    cut_short::letters_that_are_cut_short_are_all_there_or_none,
    store::of_owners_that_race_the_last_one_has_seen_everything,
    journal::what_was_acknowledged_is_there_after_a_drop,
    journal::a_repeated_message_gets_its_first_reply_from_the_store,
    journal::a_checkpoint_changes_nothing_that_is_recovered,
    journal::a_reader_sees_what_is_acknowledged_and_disturbs_nobody,
    journal::a_view_is_whole_while_the_owner_truncates,
    journal::foreign_bytes_in_the_log_are_corruption,
    journal::a_missing_commit_is_corruption,
    interloper::an_owner_that_is_replaced_while_it_recovers_is_fenced,
    cluster::a_store_is_founded_once,
    cluster::a_lease_is_one_nodes_until_it_ends,
    cluster::a_lease_that_is_not_renewed_ends,
    cluster::letters_are_taken_in_order_until_they_are_settled,
    cluster::an_inbox_that_is_full_refuses_its_actors_letters_only,
    cluster::no_letter_appears_behind_one_that_was_taken,
    cluster::replies_wait_for_their_client,
}
