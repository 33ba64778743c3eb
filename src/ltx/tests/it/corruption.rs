//! A file that was changed is refused, or says the same.

use ltx::{Damage, DecodeError};

use crate::fixtures::{FRAMES, UNCHECKED_DELTA, UNCHECKED_WHOLE};
use crate::pages::{decode, whole};
use crate::raw::Raw;

fn files() -> Vec<Vec<u8>> {
    vec![whole().0, Raw::delta().build(), UNCHECKED_WHOLE.to_vec(), UNCHECKED_DELTA.to_vec(), FRAMES.to_vec()]
}

/// All that matters, though compressed bytes may differ that make the same page, and a frame of LZ4 may say so in more ways than one.
fn content(file: &[u8]) -> Option<impl PartialEq + use<>> {
    let (summary, pages) = decode(file).ok()?;
    Some((summary.header, summary.post_apply, summary.index, pages))
}

#[test]
fn each_change_of_one_byte_is_refused_or_harmless() {
    for file in files() {
        let sound = content(&file);
        let (summary, _) = decode(file.as_slice()).unwrap();
        let blocks: Vec<_> = summary.index.iter().map(|(_, frame)| frame.start + 6..frame.end).collect();
        for at in 0..file.len() {
            let mut changed = file.clone();
            for difference in 1..=u8::MAX {
                changed[at] = file[at] ^ difference;
                let says = content(&changed);
                assert!(says.is_none() || says == sound, "byte {at}, changed by {difference:#x}, made another file");
                // Only compressed bytes have more than one way to say the same.
                let is_compressed = blocks.iter().any(|block| block.contains(&(at as u64)));
                assert!(says.is_none() || is_compressed, "byte {at}, changed by {difference:#x}, was not noticed");
            }
        }
    }
}

#[test]
fn a_file_that_ends_too_early_is_refused() {
    for file in files() {
        for end in 0..file.len() {
            let refused = decode(&file[..end]);
            let expected = |damage| matches!(damage, Damage::Truncated | Damage::Compression { .. });
            assert!(matches!(refused, Err(DecodeError::Damaged { damage, .. }) if expected(damage)), "{end}: {refused:?}");
            // Only of an LZ4 frame it cannot be told why it does not go on.
            let is_old = file == FRAMES;
            assert!(matches!(refused, Err(DecodeError::Damaged { at, damage: Damage::Truncated }) if at == end as u64) || is_old);
        }
    }
}
