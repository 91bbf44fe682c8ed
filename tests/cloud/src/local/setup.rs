//! What an empty cloud needs before Bailey can use it: tables, buckets, a launch template.

use super::{
    CloudError, LocalCloud, REGION,
    installation::{Index, Installation, Table},
};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType,
};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketLocationConstraint, BucketVersioningStatus};
use bailey_model::S3Location;
use std::collections::BTreeMap;

/// The real SDK's clients, pointed at the emulator.
#[derive(Clone, Debug)]
pub struct Clients {
    dynamodb: aws_sdk_dynamodb::Client,
    s3: aws_sdk_s3::Client,
    streams: aws_sdk_dynamodbstreams::Client,
}

impl Clients {
    /// Clients for the emulator at this address.
    #[must_use]
    pub fn new(endpoint_url: &str) -> Self {
        use aws_sdk_dynamodb::config as dynamodb;
        use aws_sdk_dynamodbstreams::config as streams;
        use aws_sdk_s3::config as s3;
        let database = dynamodb::Config::builder()
            .behavior_version(dynamodb::BehaviorVersion::latest())
            .region(dynamodb::Region::new(REGION))
            .endpoint_url(endpoint_url)
            .credentials_provider(dynamodb::Credentials::new("test", "test", None, None, "local"));
        let objects = s3::Config::builder()
            .behavior_version(s3::BehaviorVersion::latest())
            .region(s3::Region::new(REGION))
            .endpoint_url(endpoint_url)
            .force_path_style(true)
            .credentials_provider(s3::Credentials::new("test", "test", None, None, "local"));
        let changes = streams::Config::builder()
            .behavior_version(streams::BehaviorVersion::latest())
            .region(streams::Region::new(REGION))
            .endpoint_url(endpoint_url)
            .credentials_provider(streams::Credentials::new("test", "test", None, None, "local"));
        Self {
            streams: aws_sdk_dynamodbstreams::Client::from_conf(changes.build()),
            dynamodb: aws_sdk_dynamodb::Client::from_conf(database.build()),
            s3: aws_sdk_s3::Client::from_conf(objects.build()),
        }
    }

    /// The real SDK's client for DynamoDB.
    #[must_use]
    pub fn dynamodb(&self) -> &aws_sdk_dynamodb::Client {
        &self.dynamodb
    }

    /// The real SDK's client for S3.
    #[must_use]
    pub fn s3(&self) -> &aws_sdk_s3::Client {
        &self.s3
    }

    /// The real SDK's client for DynamoDB's streams.
    #[must_use]
    pub fn streams(&self) -> &aws_sdk_dynamodbstreams::Client {
        &self.streams
    }

    /// Writes an object and returns its version.
    pub async fn put_object(
        &self,
        location: &S3Location,
        content: Vec<u8>,
    ) -> Result<String, CloudError> {
        let put = self.s3.put_object().bucket(&location.bucket).key(&location.key);
        let put = put.body(ByteStream::from(content)).send().await;
        let put = put.map_err(CloudError::aws(format!("write {location}")))?;
        Ok(put.version_id().unwrap_or_default().to_owned())
    }
}

impl LocalCloud {
    pub(super) async fn set_up(&self) -> Result<(), CloudError> {
        let described = self.options.installation.clone();
        let installation = described.unwrap_or_else(|| Installation::usual(self.names().clone()));
        for table in &installation.tables {
            self.create_table(table).await?;
        }
        self.create_bucket(&self.names().eif_bucket).await?;
        self.create_bucket(&self.names().reports_bucket).await?;
        self.create_launch_template(&installation.launch_template).await
    }

    async fn create_table(&self, table: &Table) -> Result<(), CloudError> {
        let index_key = table.index.iter().flat_map(|index| &index.key);
        let mut attributes: Vec<_> = table.key.iter().chain(index_key).collect();
        attributes.sort_unstable();
        attributes.dedup();
        let index = table.index.as_ref().map(index).transpose();
        let attributes: Result<Vec<_>, _> =
            attributes.into_iter().map(|name| attribute(name)).collect();
        let action = || format!("create the table {}", table.name);
        self.dynamodb()
            .create_table()
            .table_name(&table.name)
            .billing_mode(BillingMode::PayPerRequest)
            .set_key_schema(Some(key_schema(&table.key).map_err(CloudError::aws(action()))?))
            .set_attribute_definitions(Some(attributes.map_err(CloudError::aws(action()))?))
            .set_global_secondary_indexes(
                index.map_err(CloudError::aws(action()))?.map(|index| vec![index]),
            )
            .set_stream_specification(
                stream(table.stream.as_deref()).map_err(CloudError::aws(action()))?,
            )
            .send()
            .await
            .map_err(CloudError::aws(action()))?;
        Ok(())
    }

    /// Makes a bucket. It keeps versions, so that a deploy can pin one.
    pub async fn create_bucket(&self, name: &str) -> Result<(), CloudError> {
        use aws_sdk_s3::types::{CreateBucketConfiguration, VersioningConfiguration};
        let location = CreateBucketConfiguration::builder()
            .location_constraint(BucketLocationConstraint::from(REGION))
            .build();
        let created = self.s3().create_bucket().bucket(name);
        let created = created.create_bucket_configuration(location).send().await;
        created.map_err(CloudError::aws(format!("create the bucket {name}")))?;
        let versions =
            VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
        let kept = self.s3().put_bucket_versioning().bucket(name);
        let kept = kept.versioning_configuration(versions).send().await;
        kept.map_err(CloudError::aws(format!("keep versions in {name}")))?;
        Ok(())
    }

    async fn create_launch_template(
        &self,
        parameters: &BTreeMap<String, String>,
    ) -> Result<(), CloudError> {
        let action = "CreateLaunchTemplate";
        let parameters: Vec<_> =
            parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = self.ec2().call(action, &parameters).await;
        let answer = answer.map_err(|source| CloudError::Ec2 { source })?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(CloudError::Ec2Refused { action, answer: answer.body })
    }
}

type BuildError = aws_sdk_dynamodb::error::BuildError;

/// The partition's attribute comes first, that of the order second.
fn key_schema(key: &[String]) -> Result<Vec<KeySchemaElement>, BuildError> {
    let element = |(name, role): (&String, KeyType)| {
        KeySchemaElement::builder().attribute_name(name).key_type(role).build()
    };
    key.iter().zip([KeyType::Hash, KeyType::Range]).map(element).collect()
}

fn attribute(name: &str) -> Result<AttributeDefinition, BuildError> {
    let kind = ScalarAttributeType::S;
    AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build()
}

fn index(plan: &Index) -> Result<GlobalSecondaryIndex, BuildError> {
    let projection = ProjectionType::from(plan.projection.as_str());
    let projection = Projection::builder().projection_type(projection).build();
    GlobalSecondaryIndex::builder()
        .index_name(&plan.name)
        .set_key_schema(Some(key_schema(&plan.key)?))
        .projection(projection)
        .build()
}

fn stream(view: Option<&str>) -> Result<Option<StreamSpecification>, BuildError> {
    let specification = |view| {
        let view = StreamViewType::from(view);
        StreamSpecification::builder().stream_enabled(true).stream_view_type(view).build()
    };
    view.map(specification).transpose()
}
