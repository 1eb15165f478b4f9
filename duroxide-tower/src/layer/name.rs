//! The names of lanes in the journal.

use std::sync::Arc;

use shared_journal::ActorId;

use crate::error::Route;

/// A layer and one of its routes, which is what the lanes of a service are named after.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RouteName {
    pub(super) layer: Arc<str>,
    pub(super) route: Route,
}

impl RouteName {
    /// The name of lane `index` of `lanes`. Another number of lanes makes other actors, so that a
    /// request is never looked for in the wrong lane.
    pub(super) fn lane(&self, index: usize, lanes: usize) -> ActorId {
        let lane = format!("lane-{index}-of-{lanes}");
        match &self.route {
            Route::Named(route) => ActorId::new(&self.layer, format!("{route}/{lane}")),
            Route::Unnamed => ActorId::new(&self.layer, lane),
        }
    }

    /// The route of a lane of this layer, as it is or was configured; none of any other actor.
    pub(super) fn of_lane(layer: &Arc<str>, actor: &ActorId) -> Option<Self> {
        if actor.actor_type() != &**layer {
            return None;
        }
        // The lane's own name has no slash, so the last one ends the route, whatever is in it.
        let (route, lane) = match actor.id().rsplit_once('/') {
            Some((route, lane)) => (Route::Named(route.into()), lane),
            None => (Route::Unnamed, actor.id()),
        };
        let (index, lanes) = lane.strip_prefix("lane-")?.split_once("-of-")?;
        (index.parse::<usize>().ok()? < lanes.parse().ok()?)
            .then(|| Self { layer: layer.clone(), route })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_belongs_to_one_route_whatever_its_name() {
        let layer: Arc<str> = "or/ders".into();
        let routes = [None, Some(""), Some("/"), Some("a"), Some("POST /a/lane-0-of-2")];
        let routes = routes.map(|route| RouteName {
            layer: layer.clone(),
            route: route.map_or(Route::Unnamed, |route| Route::Named(route.into())),
        });
        for name in &routes {
            for (index, lanes) in [(0, 1), (15, 16)] {
                let lane = name.lane(index, lanes);
                assert_eq!(RouteName::of_lane(&layer, &lane).as_ref(), Some(name), "{lane}");
            }
        }
        let other = ["lane-1", "lane-1-of-1", "lane--of-2", "a", "a/", "lane-0-of-2/a", ""];
        for id in other {
            assert_eq!(RouteName::of_lane(&layer, &ActorId::new("or/ders", id)), None, "{id}");
        }
        assert_eq!(RouteName::of_lane(&layer, &ActorId::new("or", "lane-0-of-1")), None);
    }
}
