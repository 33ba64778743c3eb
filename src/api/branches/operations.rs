//! What the document tells of branches.

use axum::http::StatusCode;
use serde_json::json;

use super::{Branch, Current, List, NewBranch, NewContent, Overwrote};
use crate::error::Kind;
use crate::openapi::problems::OF_JSON;
use crate::openapi::{Family, Operation, Schema, Tag};

/// What may come of a change in the bucket.
const OF_BRANCHES: &[Kind] = &[
    Kind::NoSuchBranch,
    Kind::BranchDeleted,
    Kind::BranchRefused,
    Kind::BranchHeldElsewhere,
    Kind::ManagedBySpec,
    Kind::WritesRefused,
    Kind::SqlBusy,
];

/// What may come of a look at what the bucket has of a branch.
pub(super) const OF_LOOKING: &[Kind] = &[Kind::NoSuchBranch, Kind::BranchDeleted, Kind::BranchRefused];

/// Their operations.
pub(crate) fn operations() -> Family {
    let at = |method, path, id, summary| Operation::of_database(Tag::Branches, method, path, id, summary);
    let list = at("get", "/branches", "listBranches", "Lists the branches.").only_now().gives(
        StatusCode::OK,
        Schema::of::<List<'static>>(),
        "All branches that are there.",
    );
    let create = at("post", "/branches", "createBranch", "Makes a branch.")
        .more("It begins with all that is committed in `from`, the branch that is served unless another is named, or with an earlier state of it.")
        .takes("application/json", Schema::of::<NewBranch>())
        .such_as("application/json", &json!({"name": "release-7"}))
        .gives(StatusCode::CREATED, Schema::of::<Branch<'static>>(), "The branch.")
        .fails(OF_BRANCHES)
        .fails(OF_JSON)
        .fails(&[Kind::BranchExists]);
    let delete = at("delete", "/branches/{branch}", "deleteBranch", "Deletes a branch; one that is not there is fine.")
        .with(["branch"])
        .gives_nothing(StatusCode::NO_CONTENT, "It is not there any more.")
        .fails(OF_BRANCHES);
    let overwrite =
        at("post", "/branches/{branch}/overwrite", "overwriteBranch", "Puts the content of another branch into one, once for each id.")
            .with(["branch"])
            .takes("application/json", Schema::of::<NewContent>())
            .such_as("application/json", &json!({"from": "release-7", "id": "release-7", "keepPreviousAs": "main-before-release-7"}))
            .gives(StatusCode::OK, Schema::of::<Overwrote<'static>>(), "It is done.")
            .fails(OF_BRANCHES)
            .fails(OF_JSON)
            .fails(&[Kind::BranchExists, Kind::ContentChanged, Kind::OverwriteIdUsed]);
    let switch = at("post", "/branches/{branch}/switch", "switchBranch", "Serves another branch; in `dev` alone.")
        .with(["branch"])
        .gives(StatusCode::OK, Schema::of::<Current<'static>>(), "The branch that is served.")
        .fails(OF_BRANCHES);
    Family::of(vec![list, create, delete, super::differences::operation(), overwrite, switch])
}
