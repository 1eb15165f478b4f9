//! Floats of any bits.

use super::{CODECS, Codec, Untagged, in_every_shape, there_and_back};

/// SplitMix64: the same numbers in each run.
fn random(seed: u64) -> impl Iterator<Item = u64> {
    (0u64..).scan(seed, |state, _| {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(z ^ (z >> 31))
    })
}

const EDGES: [f64; 12] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    f64::MIN_POSITIVE,
    5e-324,
    f64::MAX,
    f64::MIN,
    f64::EPSILON,
    195.35887532106622,
    9007199254740993.0,
    0.1,
];

#[test]
fn every_float_comes_back_bit_for_bit_or_is_refused() {
    for codec in CODECS {
        let finite_only = codec == Codec::Json;
        let specials = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -f64::NAN];
        let signaling = f64::from_bits(0x7ff0_0000_0000_0001);
        for x in EDGES.into_iter().chain(specials).chain([signaling]) {
            assert_eq!(in_every_shape(codec, &x).is_ok(), x.is_finite() || !finite_only, "{x}");
            let x = x as f32;
            assert_eq!(in_every_shape(codec, &x).is_ok(), x.is_finite() || !finite_only, "{x}");
        }
        // By way of an f64 its shortest digits are those of its neighbour.
        in_every_shape(codec, &7.038531e-26f32).unwrap();
        for bits in random(1).take(200_000) {
            let x = f64::from_bits(bits);
            assert_eq!(there_and_back(codec, &x).is_ok(), x.is_finite() || !finite_only, "{x}");
            let x = f32::from_bits(bits as u32);
            assert_eq!(
                there_and_back(codec, &Untagged::A { v: x }).is_ok(),
                x.is_finite() || !finite_only,
                "{x}"
            );
            // Of a magnitude that people use.
            let x = (bits >> 11) as f64 / (1u64 << 53) as f64 * 1000.0;
            there_and_back(codec, &x).unwrap();
        }
    }
}
