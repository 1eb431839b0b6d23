//! Specs by calls of the API.

use serde_json::Value;

use super::{Client, ClientError};
use crate::api::specs::SpecAnswer;
use crate::model::VolumeName;
use crate::store::StoredSpec;

fn path(name: &VolumeName) -> String {
    format!("api/v1/specs/{name}")
}

impl Client {
    /// A spec as it is stored.
    ///
    /// # Errors
    /// As [`Client::report`], and if there is none.
    pub async fn spec(&self, name: &VolumeName) -> Result<StoredSpec, ClientError> {
        self.get(&path(name), &[]).await
    }

    /// Puts a spec in force.
    ///
    /// # Errors
    /// As [`Client::report`], and if it is not valid, or somebody else's.
    pub async fn put_spec(
        &self,
        name: &VolumeName,
        manifest: &Value,
    ) -> Result<SpecAnswer, ClientError> {
        let path = path(name);
        let request = self
            .http
            .put(self.url(&path, &[]))
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(manifest.to_string());
        let body = self.send(&path, request).await?;
        self.understand(&path, &body)
    }

    /// Gives a spec up.
    ///
    /// # Errors
    /// As [`Client::report`], and if there is none, or it is somebody else's.
    pub async fn delete_spec(&self, name: &VolumeName) -> Result<SpecAnswer, ClientError> {
        let path = path(name);
        let request = self.http.delete(self.url(&path, &[]));
        let body = self.send(&path, request).await?;
        self.understand(&path, &body)
    }
}
