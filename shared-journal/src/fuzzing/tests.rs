//! The properties, with a thousand inputs each.

use proptest::prelude::*;

use super::{damaged, fold, portable, raw, sealed};

fn bytes(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..longest)
}

/// Numbers that claim much, more often than others.
fn numbers(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => 0..3_u8, 1 => Just(0xff), 1 => any::<u8>()];
    prop::collection::vec(byte, 0..longest)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_are_an_error_or_written_again(bytes in bytes(300)) {
        raw(&bytes);
    }

    #[test]
    fn so_is_any_content_behind_a_valid_checksum(bytes in bytes(300), numbers in numbers(60)) {
        sealed(&bytes);
        sealed(&numbers);
    }

    #[test]
    fn what_was_damaged_does_not_pass(bytes in bytes(400)) {
        damaged(&bytes);
    }

    #[test]
    fn any_events_fold_as_the_books_say_from_wherever_they_are_read(bytes in bytes(2000)) {
        fold(&bytes);
    }

    #[test]
    fn any_slots_come_to_what_a_segment_begins_with(
        lines in prop::collection::vec((0..LINES.len(), any::<(usize, u8)>()), 0..8),
    ) {
        let mut text = Vec::new();
        for (line, (place, byte)) in lines {
            let begin = text.len();
            text.extend_from_slice(LINES[line].as_bytes());
            let length = text.len() - begin;
            // Most are as they are.
            if byte >= 0x20 && place % 4 == 0 {
                text[begin + place / 4 % length] = byte;
            }
            text.push(b'\n');
        }
        portable(&text);
    }
}

const LINES: [&str; 9] = [
    r#"{"version":1,"writer":"a","entry":{"opened":{"epoch":7}}}"#,
    r#"{"version":1,"writer":"a","entry":{"written":{"commits":[{"position":3,"batch":"AAEC"}]}}}"#,
    r#"{"version":1,"writer":"a","entry":{"written":{"commits":[{"position":4,"batch":""}],"checkpoint":3,"truncate_before":4}}}"#,
    r#"{"version":1,"writer":"a","entry":{"written":{"records":[{"no":1,"actor_type":"t","actor_id":"1","pending":2,"dead_letters":0,"record":"AA=="}]}}}"#,
    r#"{"version":1,"writer":"a","entry":{"posted":{"letters":[{"number":5,"actor_type":"t","actor_id":"1","letter":"AAEC"}]}}}"#,
    r#"{"version":1,"writer":"a","entry":{"settled":{"letters":[5,6]}}}"#,
    r#"{"version":1,"writer":"a","entry":{"numbered":{"last":18446744073709551615}}}"#,
    r#"{"version":1,"writer":"a","entry":{"replied":{"reply":"AA=="}}}"#,
    r#"{"version":1,"writer":"a","entry":{"leased":{"shard":1,"node":"n","lease_ms":18446744073709551615}}}"#,
];

/// Found by the fuzzer: dead letters, and lines, that are not in order.
#[test]
fn a_record_that_nobody_writes_is_refused() {
    const LETTERS: [u8; 9] = [2, 133, 1, 0, 24, 6, 1, 1, 0];
    let bytes = [&[129, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 16, 0, 0][..], &LETTERS, &[0; 4]];
    sealed(&bytes.concat());
    let head = [97, 3, 3, 32, 9, 114, 108, 3, 103];
    let lines = [
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 1, 0, 1, 7, 7,
        97, 99, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
        33, 255, 255, 255, 33, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
        255, 255, 255, 255, 255, 1, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
        255, 14, 110, 116, 0,
    ];
    sealed(&[&head[..], &lines].concat());
}
