//! Two encoded values of one type: whether they are the same, where a set has no order.
//!
//! A set is a sequence to serde, so the bytes do not tell it from a list. What does is its type: a
//! set forgets an element that comes twice. So where two sequences differ by their order, the first is
//! decoded and encoded again with one of its elements doubled.

use std::cell::{OnceCell, RefCell};

use rustc_hash::FxHashMap;
use serde_json::Value;

use super::Payload;
use super::again::Again;

/// The one key of the form of a map whose keys are no text.
const MAP: &str = "$map";

/// A payload of any codec as JSON, so that the order of fields and the codec do not matter. What JSON
/// has no form for is as [`Payload::to_text`] shows it.
pub(crate) fn json(payload: &Payload<'_>) -> Value {
    let text = payload.to_text();
    serde_json::from_str(&text).unwrap_or_else(|_| text.into())
}

/// A value, to be compared with others.
pub(crate) struct Comparison<'a> {
    /// What it was read from, if that can be asked for its sets.
    payload: Option<&'a Payload<'a>>,
    value: Value,
    /// What its type makes of it; None if that is not known, and then every order counts.
    again: Option<Again>,
    /// Fields that only the other one has do not count.
    covers: bool,
    /// How much there is of it when it was decoded and encoded again.
    size: OnceCell<Option<usize>>,
    sets: RefCell<FxHashMap<String, bool>>,
}

/// Where two values differ, and what is there.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) path: String,
    pub(crate) first: Value,
    pub(crate) second: Value,
}

#[derive(Debug, Clone)]
enum Step {
    Field(String),
    Element(usize),
}

/// The way to what is compared.
type Way = Vec<Step>;

impl<'a> Comparison<'a> {
    /// All of a payload counts, but for the order of its sets.
    pub(crate) fn of(payload: &'a Payload<'a>, again: Option<Again>) -> Self {
        let (size, sets) = (OnceCell::new(), RefCell::default());
        let (value, payload) = (json(payload), Some(payload));
        Self { payload, value, again, covers: false, size, sets }
    }

    /// A value of which the order of everything counts.
    #[cfg(feature = "test-util")]
    pub(crate) fn plain(value: Value) -> Self {
        let (size, sets) = (OnceCell::new(), RefCell::default());
        Self { payload: None, value, again: None, covers: false, size, sets }
    }

    /// A field that it does not have does not count: a newer program may have it.
    #[cfg(feature = "test-util")]
    pub(crate) fn covering(self) -> Self {
        Self { covers: true, ..self }
    }

    /// The value itself.
    #[cfg(feature = "test-util")]
    pub(crate) fn into_value(self) -> Value {
        self.value
    }

    /// Where the other value is not the same, if it is not.
    pub(crate) fn difference(&self, other: &Value) -> Option<Difference> {
        self.compare(&mut Way::new(), &self.value, other)
    }

    fn compare(&self, way: &mut Way, first: &Value, second: &Value) -> Option<Difference> {
        match (first, second) {
            (Value::Object(fields), Value::Object(others)) => {
                if let (Some(pairs), Some(other_pairs)) = (pairs(first), pairs(second)) {
                    return self.inside(way, Step::Field(MAP.to_owned()), |way| {
                        self.in_any_order(way, pairs, other_pairs)
                    });
                }
                for (name, field) in fields {
                    let other = others.get(name).unwrap_or(&Value::Null);
                    let found = self.inside(way, Step::Field(name.clone()), |way| {
                        if others.contains_key(name) {
                            self.compare(way, field, other)
                        } else {
                            Some(differ(way, field, other))
                        }
                    });
                    if found.is_some() {
                        return found;
                    }
                }
                let is_new = |name: &&String| !self.covers && !fields.contains_key(*name);
                let name = others.keys().find(is_new)?;
                self.inside(way, Step::Field(name.clone()), |way| {
                    Some(differ(way, &Value::Null, &others[name]))
                })
            }
            (Value::Array(elements), Value::Array(others)) => {
                if elements.len() != others.len() {
                    return Some(differ(way, first, second));
                }
                let mut pairs = elements.iter().zip(others).enumerate();
                let found = pairs.find_map(|(place, (element, other))| {
                    self.inside(way, Step::Element(place), |way| self.compare(way, element, other))
                })?;
                if self.is_set(way) {
                    self.in_any_order(way, elements, others)
                } else {
                    Some(found)
                }
            }
            // By their digits: -0.0 is another value than 0.0.
            (Value::Number(number), Value::Number(other)) => {
                (number.to_string() != other.to_string()).then(|| differ(way, first, second))
            }
            _ => (first != second).then(|| differ(way, first, second)),
        }
    }

    fn inside<T>(&self, way: &mut Way, step: Step, run: impl FnOnce(&mut Way) -> T) -> T {
        way.push(step);
        let done = run(way);
        way.pop();
        done
    }

    /// Whether each element has one of the others that is the same.
    fn in_any_order(
        &self,
        way: &mut Way,
        elements: &[Value],
        others: &[Value],
    ) -> Option<Difference> {
        let mut left: FxHashMap<String, Vec<&Value>> = FxHashMap::default();
        for other in others {
            left.entry(other.to_string()).or_default().push(other);
        }
        // Most of them are the same to the letter.
        let mut odd = Vec::new();
        for (place, element) in elements.iter().enumerate() {
            if left.get_mut(&element.to_string()).and_then(Vec::pop).is_none() {
                odd.push((place, element));
            }
        }
        let mut left: Vec<&Value> = left.into_values().flatten().collect();
        for (place, element) in odd {
            let twin = self.inside(way, Step::Element(place), |way| {
                left.iter().position(|other| self.compare(way, element, other).is_none())
            });
            match twin {
                Some(twin) => drop(left.swap_remove(twin)),
                None => {
                    return self.inside(way, Step::Element(place), |way| {
                        Some(differ(way, element, left.first().copied().unwrap_or(&Value::Null)))
                    });
                }
            }
        }
        // More elements than these: of a map with keys that are no text.
        left.first().filter(|_| !self.covers).map(|other| differ(way, &Value::Null, other))
    }

    /// Whether the type forgets that an element of the sequence there came twice.
    fn is_set(&self, way: &Way) -> bool {
        let place = text(way);
        let known = self.sets.borrow().get(&place).copied();
        known.unwrap_or_else(|| {
            let forgets = self.forgets_a_double(way).unwrap_or(false);
            self.sets.borrow_mut().insert(place, forgets);
            forgets
        })
    }

    fn forgets_a_double(&self, way: &Way) -> Option<bool> {
        let (again, whole) = (self.again?, self.payload?);
        let size = |payload: &Payload<'_>| Some(size_of(&json(&again(payload).ok()?)));
        let size_before = (*self.size.get_or_init(|| size(whole)))?;
        let mut doubled = self.value.clone();
        let mut place = &mut doubled;
        for step in way {
            place = match step {
                Step::Field(name) => place.get_mut(name)?,
                Step::Element(place_in_it) => place.get_mut(place_in_it)?,
            };
        }
        let elements = place.as_array_mut()?;
        elements.insert(0, elements.first()?.clone());
        let doubled = Payload::from_text(whole.codec(), &doubled.to_string()).ok()?;
        Some(size(&doubled)? == size_before)
    }
}

/// The keys and values of a map whose keys are no text.
fn pairs(value: &Value) -> Option<&[Value]> {
    let fields = value.as_object().filter(|fields| fields.len() == 1)?;
    fields.get(MAP)?.as_array().map(Vec::as_slice)
}

/// How many values it is made of.
fn size_of(value: &Value) -> usize {
    1 + match value {
        Value::Array(elements) => elements.iter().map(size_of).sum(),
        Value::Object(fields) => fields.values().map(size_of).sum(),
        _ => 0,
    }
}

fn differ(way: &Way, first: &Value, second: &Value) -> Difference {
    Difference { path: text(way), first: first.clone(), second: second.clone() }
}

fn text(way: &Way) -> String {
    let mut text = String::new();
    for step in way {
        match step {
            Step::Field(name) if text.is_empty() => text.push_str(name),
            Step::Field(name) => text.extend([".", name]),
            Step::Element(place) => text.push_str(&format!("[{place}]")),
        }
    }
    text
}
