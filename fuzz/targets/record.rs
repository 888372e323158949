//! Records of a frame: what is read is written and read again as the same, and its folds do not panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use volume_syncing_controller::vault::directory::{Table, TableLine, TableLookup};
use volume_syncing_controller::vault::entry::{Record, fold};
use volume_syncing_controller::vault::object::{Claim, ObjectId, ObjectKind};
use volume_syncing_controller::vault::record::{Records, logical_record, put_record};
use volume_syncing_controller::vault::wire::FormatError;

fuzz_target!(|data: &[u8]| {
    let claim = Claim { epoch: 1, nonce: 2 };
    let lines: Vec<TableLine> = [(ObjectKind::Pack, 0), (ObjectKind::Run, 1)]
        .map(|(kind, counter)| TableLine { object: ObjectId::of_claim(kind, claim, counter), referenced: 0 })
        .into();
    // Offsets into the object itself count from its head, which is of no length here, so that they survive.
    let lookup = TableLookup { own: ObjectId::commit(7), head_len: 0, lines };
    let records: Vec<Record> = Records::new(data, &lookup).map_while(Result::ok).collect();
    let mut out = Vec::new();
    let mut table = Table::new(lookup.own);
    let mut previous: &[u8] = b"";
    for record in &records {
        put_record(&mut out, previous, record, &mut table);
        previous = record.path().as_bytes();
    }
    let again = TableLookup { own: lookup.own, head_len: 0, lines: table.into_lines() };
    let read: Result<Vec<Record>, FormatError> = Records::new(&out, &again).collect();
    assert_eq!(read.as_ref(), Ok(&records));
    for record in &records {
        if let Record::Upsert(entry) = record {
            logical_record(entry);
        }
    }
    // As if all were about one path.
    let _ = fold(records);
});
