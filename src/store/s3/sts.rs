//! Sessions from a token service: AWS's by its own rules, or one at an address such as MinIO's.

use super::super::http::tag;
use super::credentials::Source;
use bytes::Bytes;
use http::{Request, header};
use reqsign_aws_v4::constants::X_AMZ_CONTENT_SHA_256;
use reqsign_aws_v4::{AssumeRoleCredentialProvider, Credential, RequestSigner};
use reqsign_core::hash::hex_sha256;
use reqsign_core::{Context, Error, ProvideCredential, Result, Signer};
use std::sync::Arc;

/// What our sessions are called in the service's log, unless the environment says otherwise.
const SESSION_NAME: &str = "volume-syncing-controller";

/// A role to assume with other credentials.
#[derive(Debug, Clone)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) region: String,
    /// AWS's service when absent.
    pub(super) endpoint: Option<String>,
}

impl Role {
    pub(super) async fn assume(&self, ctx: &Context, source: &Arc<Source>) -> Result<Credential> {
        let signer = Signer::new(ctx.clone(), Arc::clone(source), RequestSigner::new("sts", &self.region));
        let name = session_name(ctx);
        let Some(endpoint) = &self.endpoint else {
            let provider = AssumeRoleCredentialProvider::new(self.arn.clone(), signer).with_region(self.region.clone());
            let provider = provider.with_regional_sts_endpoint().with_role_session_name(name);
            let session = provider.provide_credential(ctx).await?;
            return session.ok_or_else(|| Error::credential_invalid("the token service gave no session"));
        };
        let (mut parts, body) =
            request(endpoint, &[("Action", "AssumeRole"), ("RoleArn", &self.arn), ("RoleSessionName", &name)])?.into_parts();
        signer.sign(&mut parts, None).await?;
        // The client writes it from the address.
        parts.headers.remove(header::HOST);
        session(ctx, Request::from_parts(parts, body)).await
    }
}

/// The workload's token, exchanged at an address of our own choice.
#[derive(Debug)]
pub(super) struct AtEndpoint {
    pub(super) endpoint: String,
}

impl ProvideCredential for AtEndpoint {
    type Credential = Credential;

    async fn provide_credential(&self, ctx: &Context) -> Result<Option<Credential>> {
        let Some(file) = ctx.env_var("AWS_WEB_IDENTITY_TOKEN_FILE") else { return Ok(None) };
        // It is swapped before it ends: what was read for the session before is of no use.
        let token = ctx.file_read_as_string(&file).await?;
        let (role, name) = (ctx.env_var("AWS_ROLE_ARN").unwrap_or_default(), session_name(ctx));
        let mut pairs =
            vec![("Action", "AssumeRoleWithWebIdentity"), ("WebIdentityToken", token.trim()), ("RoleSessionName", &name)];
        if !role.is_empty() {
            pairs.push(("RoleArn", &role));
        }
        session(ctx, request(&self.endpoint, &pairs)?).await.map(Some)
    }
}

fn session_name(ctx: &Context) -> String {
    ctx.env_var("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| SESSION_NAME.to_owned())
}

fn request(endpoint: &str, pairs: &[(&str, &str)]) -> Result<Request<Bytes>> {
    let wrong = |_| Error::config_invalid("the token service's address is none");
    let mut url = reqwest::Url::parse(endpoint).map_err(wrong)?;
    url.query_pairs_mut().append_pair("Version", "2011-06-15").extend_pairs(pairs);
    let form = Bytes::from(url.query().unwrap_or_default().to_owned());
    url.set_query(None);
    Request::post(url.as_str())
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(X_AMZ_CONTENT_SHA_256, hex_sha256(&form))
        .body(form)
        .map_err(|_| Error::request_invalid("the token service cannot be asked"))
}

async fn session(ctx: &Context, request: Request<Bytes>) -> Result<Credential> {
    let answer = ctx.http_send_as_string(request).await?;
    if !answer.status().is_success() {
        return Err(Error::permission_denied(format!("the token service answered {}", answer.status().as_u16())));
    }
    let body = answer.body();
    let part = |name: &str| {
        let found = tag(body, name).filter(|text| !text.is_empty());
        found.ok_or_else(|| Error::unexpected(format!("the token service's answer has no {name}")))
    };
    Ok(Credential {
        access_key_id: part("AccessKeyId")?,
        secret_access_key: part("SecretAccessKey")?,
        session_token: Some(part("SessionToken")?),
        expires_in: Some(part("Expiration")?.parse()?),
    })
}
