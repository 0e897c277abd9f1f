"""The deployment: CDK stacks and constructs, derived from the declarations of the jobs and the settings of cdk.json."""
