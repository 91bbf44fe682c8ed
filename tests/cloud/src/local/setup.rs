//! What an empty cloud needs before Bailey can use it: tables, buckets, a launch template.

use super::{CloudError, LocalCloud, REGION, ROLE};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType,
};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{BucketLocationConstraint, BucketVersioningStatus};
use bailey_model::S3Location;
use base64::{Engine as _, engine::general_purpose::STANDARD};

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

/// A table as Bailey expects it.
struct TablePlan<'a> {
    name: &'a str,
    key: &'a [(&'a str, KeyType)],
    index: Option<IndexPlan<'a>>,
    stream: Option<StreamViewType>,
}

struct IndexPlan<'a> {
    name: &'a str,
    key: &'a [(&'a str, KeyType)],
    projection: ProjectionType,
}

impl LocalCloud {
    pub(super) async fn set_up(&self) -> Result<(), CloudError> {
        let names = self.names();
        let status = [("status", KeyType::Hash)];
        let active = [("active", KeyType::Hash), ("pk", KeyType::Range)];
        let tables = [
            TablePlan {
                name: &names.enclaves_table,
                key: &[("id", KeyType::Hash)],
                index: Some(IndexPlan {
                    name: "status-index",
                    key: &status,
                    projection: ProjectionType::All,
                }),
                stream: Some(StreamViewType::NewAndOldImages),
            },
            TablePlan {
                name: &names.ledger_table,
                key: &[("pk", KeyType::Hash), ("sk", KeyType::Range)],
                index: Some(IndexPlan {
                    name: "active-index",
                    key: &active,
                    projection: ProjectionType::KeysOnly,
                }),
                stream: None,
            },
            TablePlan {
                name: &names.hosts_table,
                key: &[("pk", KeyType::Hash)],
                index: None,
                stream: Some(StreamViewType::NewImage),
            },
        ];
        for table in &tables {
            self.create_table(table).await?;
        }
        self.create_bucket(&names.eif_bucket).await?;
        self.create_bucket(&names.reports_bucket).await?;
        self.create_launch_template().await
    }

    async fn create_table(&self, plan: &TablePlan<'_>) -> Result<(), CloudError> {
        let index_key = plan.index.iter().flat_map(|index| index.key);
        let mut attributes: Vec<_> = plan.key.iter().chain(index_key).map(|key| key.0).collect();
        attributes.sort_unstable();
        attributes.dedup();
        let index = plan.index.as_ref().map(index).transpose();
        let attributes: Result<Vec<_>, _> = attributes.into_iter().map(attribute).collect();
        let action = || format!("create the table {}", plan.name);
        self.dynamodb()
            .create_table()
            .table_name(plan.name)
            .billing_mode(BillingMode::PayPerRequest)
            .set_key_schema(Some(key_schema(plan.key).map_err(CloudError::aws(action()))?))
            .set_attribute_definitions(Some(attributes.map_err(CloudError::aws(action()))?))
            .set_global_secondary_indexes(
                index.map_err(CloudError::aws(action()))?.map(|index| vec![index]),
            )
            .set_stream_specification(
                stream(plan.stream.clone()).map_err(CloudError::aws(action()))?,
            )
            .send()
            .await
            .map_err(CloudError::aws(action()))?;
        Ok(())
    }

    /// Buckets keep versions, so that a deploy can pin one.
    /// Makes a bucket, versioned.
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

    /// As the cloud's template: the image, the role, and user data that names the hosts table.
    async fn create_launch_template(&self) -> Result<(), CloudError> {
        let names = self.names();
        let user_data = STANDARD.encode(format!("hosts_table = \"{}\"\n", names.hosts_table));
        let action = "CreateLaunchTemplate";
        let parameters = [
            ("LaunchTemplateName", names.launch_template.as_str()),
            ("LaunchTemplateData.ImageId", "ami-0123456789abcdef0"),
            ("LaunchTemplateData.IamInstanceProfile.Name", ROLE),
            ("LaunchTemplateData.UserData", &user_data),
        ];
        let answer = self.ec2().call(action, &parameters).await;
        let answer = answer.map_err(|source| CloudError::Ec2 { source })?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(CloudError::Ec2Refused { action, answer: answer.body })
    }
}

type BuildError = aws_sdk_dynamodb::error::BuildError;

fn key_schema(key: &[(&str, KeyType)]) -> Result<Vec<KeySchemaElement>, BuildError> {
    let element = |(name, role): &(&str, KeyType)| {
        KeySchemaElement::builder().attribute_name(*name).key_type(role.clone()).build()
    };
    key.iter().map(element).collect()
}

fn attribute(name: &str) -> Result<AttributeDefinition, BuildError> {
    let kind = ScalarAttributeType::S;
    AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build()
}

fn index(plan: &IndexPlan<'_>) -> Result<GlobalSecondaryIndex, BuildError> {
    let projection = Projection::builder().projection_type(plan.projection.clone()).build();
    GlobalSecondaryIndex::builder()
        .index_name(plan.name)
        .set_key_schema(Some(key_schema(plan.key)?))
        .projection(projection)
        .build()
}

fn stream(view: Option<StreamViewType>) -> Result<Option<StreamSpecification>, BuildError> {
    let specification =
        |view| StreamSpecification::builder().stream_enabled(true).stream_view_type(view).build();
    view.map(specification).transpose()
}
