//! The file of flights, plain or compressed with gzip.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::str::FromStr;

use anyhow::Context;
use flate2::bufread::MultiGzDecoder;
use serde::de::{Deserialize, Deserializer, Error};

use crate::aircraft::Flight;

/// The aircraft of the flights for which the file names none.
pub(crate) const UNASSIGNED: &str = "unassigned";

/// A row of the file.
#[derive(Debug, PartialEq)]
pub(crate) struct Entry {
    /// Counts from 1, without the line of headers.
    pub(crate) row: u64,
    /// Its tail number, or [`UNASSIGNED`].
    pub(crate) aircraft: String,
    pub(crate) flight: Flight,
}

/// The rows of a file, in its order. An error names the file and the line.
pub(crate) fn read(path: &Path) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Entry>>> {
    let name = path.display().to_string();
    let input = open(path).with_context(|| format!("cannot read {name}"))?;
    let rows = csv::Reader::from_reader(input).into_deserialize::<Row>();
    Ok((1..).zip(rows).map(move |(row, columns)| {
        match columns {
            Ok(columns) => Ok(columns.into_entry(row)),
            Err(error) => {
                // A file that cannot be read any further has no position.
                let line = error.position().map_or(row + 1, csv::Position::line);
                Err(error).with_context(|| format!("{name}, line {line}"))
            }
        }
    }))
}

fn open(path: &Path) -> std::io::Result<Box<dyn Read>> {
    let mut file = BufReader::new(File::open(path)?);
    let compressed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(if compressed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

/// The columns that are used, by their names in the line of headers.
#[derive(serde::Deserialize)]
struct Row {
    year: u16,
    month: u8,
    day: u8,
    #[serde(deserialize_with = "known")]
    dep_time: Option<u16>,
    #[serde(deserialize_with = "known")]
    arr_delay: Option<i32>,
    carrier: String,
    flight: u32,
    #[serde(deserialize_with = "known")]
    tailnum: Option<String>,
    origin: String,
    dest: String,
    #[serde(deserialize_with = "known")]
    air_time: Option<u32>,
    #[serde(deserialize_with = "known")]
    distance: Option<u32>,
}

impl Row {
    fn into_entry(self, row: u64) -> Entry {
        Entry {
            row,
            aircraft: self.tailnum.unwrap_or_else(|| UNASSIGNED.to_owned()),
            flight: Flight {
                year: self.year,
                month: self.month,
                day: self.day,
                carrier: self.carrier,
                number: self.flight,
                origin: self.origin,
                dest: self.dest,
                dep_time: self.dep_time,
                arr_delay: self.arr_delay,
                air_time: self.air_time,
                distance: self.distance,
            },
        }
    }
}

/// A value, unless the field is empty or says `NA`.
fn known<'de, D, T>(field: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: std::fmt::Display>,
{
    match String::deserialize(field)?.as_str() {
        "" | "NA" => Ok(None),
        value => {
            value.parse().map(Some).map_err(|error| D::Error::custom(format!("{value:?}: {error}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const HEADERS: &str = "year,month,day,sched_dep_time,dep_time,dep_delay,arr_delay,carrier,\
                           flight,tailnum,origin,dest,air_time,distance\n";

    fn entries(content: &[u8]) -> anyhow::Result<Vec<Entry>> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(content)?;
        read(file.path())?.collect()
    }

    #[test]
    fn compressed_and_plain_are_read_alike() -> anyhow::Result<()> {
        let plain = format!(
            "{HEADERS}2013,1,1,515,517,2,-11,UA,1545,N14228,EWR,IAH,227,1400\n\
             2013,1,1,900,NA,NA,NA,AA,791,,LGA,DFW,,1389\n"
        );
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(plain.as_bytes())?;

        let rows = entries(plain.as_bytes())?;
        assert_eq!(rows, entries(&gzip.finish()?)?);
        assert_eq!((rows[0].row, rows[0].aircraft.as_str()), (1, "N14228"));
        assert_eq!(rows[0].flight.arr_delay, Some(-11));
        assert_eq!((rows[1].row, rows[1].aircraft.as_str()), (2, UNASSIGNED));
        assert_eq!((rows[1].flight.dep_time, rows[1].flight.air_time), (None, None));
        Ok(())
    }

    #[test]
    fn an_error_names_the_line() {
        let content = format!(
            "{HEADERS}2013,1,1,515,517,2,11,UA,1545,N14228,EWR,IAH,227,1400\n\
             2013,1,1,515,late,2,11,UA,1545,N14228,EWR,IAH,227,1400\n"
        );
        let error = format!("{:#}", entries(content.as_bytes()).unwrap_err());
        assert!(error.contains("line 3") && error.contains("\"late\""), "{error}");
    }

    #[test]
    fn a_file_that_was_cut_off_is_an_error() -> anyhow::Result<()> {
        let whole = std::fs::read(crate::options::DEFAULT_DATA)?;
        assert!(entries(&whole[..whole.len() / 2]).is_err());
        Ok(())
    }
}
