//! A database, as a client of the HTTP API sees it.

use reqwest::{Response, StatusCode};
use serde_json::Value;

use super::wait::until;

/// The base URL of a database, and the token that opens it.
pub(crate) struct Database {
    base: String,
    token: Option<String>,
    /// By which name it is asked, if not by that of its address.
    host: Option<String>,
    http: reqwest::Client,
}

impl Database {
    pub(crate) fn new(base: String, token: Option<String>) -> Self {
        Self { base, token, host: None, http: client() }
    }

    /// The same database for somebody who knows another token, or none.
    pub(crate) fn with_token(&self, token: Option<&str>) -> Self {
        Self { host: self.host.clone(), ..Self::new(self.base.clone(), token.map(str::to_owned)) }
    }

    /// Whatever is at this address for those who ask by another name.
    pub(crate) fn by_name(address: &str, host: &str, token: &str) -> Self {
        Self { host: Some(host.to_owned()), ..Self::new(format!("{address}/"), Some(token.to_owned())) }
    }

    /// What a client is told: its URL and its token.
    pub(crate) fn address(&self) -> (&str, Option<&str>) {
        (&self.base, self.token.as_deref())
    }

    /// Waits until it answers: a restored one may still be on its way.
    pub(crate) async fn answers(self) -> Self {
        until("an answer of the database", async || (self.try_sql("select 1").await.status() == StatusCode::OK).then_some(())).await;
        self
    }

    /// The rows of the last statement.
    pub(crate) async fn sql(&self, sql: &str) -> Value {
        let response = self.try_sql(sql).await;
        let status = response.status();
        let reply = response.text().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{sql}: {reply}");
        let reply: Value = serde_json::from_str(&reply).unwrap();
        reply["results"].as_array().unwrap().last().unwrap()["rows"].clone()
    }

    pub(crate) async fn try_sql(&self, sql: &str) -> Response {
        self.send(self.http.post(self.url("sql")).body(sql.to_owned())).await
    }

    /// The same of a program that may be killed meanwhile.
    pub(crate) async fn try_to_reach(&self, sql: &str) -> Result<Response, reqwest::Error> {
        self.request(self.http.post(self.url("sql")).body(sql.to_owned())).send().await
    }

    /// Asks a route of a program that may be killed meanwhile; answers with the status and the body.
    pub(crate) async fn try_to_post(&self, route: &str, body: &Value) -> Result<(StatusCode, String), reqwest::Error> {
        let response = self.request(self.http.post(self.url(route)).json(body)).send().await?;
        Ok((response.status(), response.text().await?))
    }

    /// Saves now; answers with the facts of the snapshot that holds everything.
    pub(crate) async fn flush(&self) -> Value {
        let response = self.send(self.http.post(self.url("flush"))).await;
        let status = response.status();
        let reply: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(status, StatusCode::OK, "{reply}");
        reply["snapshot"].clone()
    }

    /// Asks a route with this body, if it is not empty; answers with the body of the reply.
    pub(crate) async fn ask(&self, method: &str, route: &str, body: &str) -> (StatusCode, String) {
        let response = self.send(self.http.request(method.parse().unwrap(), self.url(route)).body(body.to_owned())).await;
        (response.status(), response.text().await.unwrap())
    }

    /// Keeps a content; answers with what is known of it.
    pub(crate) async fn put_file(&self, content: &str, name: &str) -> Value {
        let request = self.http.post(self.url("files")).body(content.to_owned()).header("content-type", "text/plain");
        let request =
            request.header("content-disposition", format!("attachment; filename=\"{name}\"")).header("x-buckethead-meta-by", "us");
        let response = self.send(request).await;
        let status = response.status();
        let reply = response.text().await.unwrap();
        assert!(status.is_success(), "{reply}");
        serde_json::from_str(&reply).unwrap()
    }

    /// The status and the body.
    pub(crate) async fn get_file(&self, key: &str) -> (u16, String) {
        let response = self.send(self.http.get(self.url(&format!("files/{key}")))).await;
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The listing of files.
    pub(crate) async fn files(&self) -> Value {
        serde_json::from_str(&self.send(self.http.get(self.url("files"))).await.text().await.unwrap()).unwrap()
    }

    /// The database as a file.
    pub(crate) async fn file(&self) -> Vec<u8> {
        let response = self.send(self.http.get(self.url("snapshot"))).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.bytes().await.unwrap().to_vec()
    }

    /// The answer to a read with one header more.
    pub(crate) async fn read_with_header(&self, name: &str, value: &str) -> StatusCode {
        self.send(self.http.get(self.url("sql")).query(&[("q", "select 1")]).header(name, value)).await.status()
    }

    fn url(&self, route: &str) -> String {
        format!("{}{route}", self.base)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Response {
        self.request(request).send().await.unwrap()
    }

    fn request(&self, mut request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(host) = &self.host {
            request = request.header("host", host);
        }
        request
    }
}

/// A proxy of the machine has no business between a test and its loopback.
pub(super) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}
