// Addresses of cloud metadata services, which give credentials to any process on the machine: data, with its source.
// It relies on Screening for the check: a gate refuses all of these addresses, wherever it runs.
package import Wire

package enum MetadataServices {
  /// Some addresses lie in global, private or shared space, which a policy may open. As of 2026-10.
  private static let table: [(address: String, source: String)] = [
    // AWS, Azure, GCP, Oracle, OpenStack, DigitalOcean, Hetzner and others
    ("169.254.169.254", "docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html"),
    ("fd00:ec2::254", "docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html"),
    ("169.254.170.2", "docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html"),
    ("169.254.170.23", "docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html"),
    ("fd00:ec2::23", "docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html"),
    ("168.63.129.16", "learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16"),
    ("fd20:ce::254", "cloud.google.com/compute/docs/metadata/querying-metadata"),
    ("100.100.100.200", "alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata"),
    ("192.0.0.192", "docs.oracle.com/en/cloud/iaas/compute-iaas-cloud (Oracle Cloud Infrastructure Classic)"),
    ("fd00:c1::a9fe:a9fe", "docs.oracle.com/en-us/iaas/Content/Compute/Tasks/gettingmetadata.htm"),
    ("fe80::a9fe:a9fe", "docs.openstack.org/nova/latest/user/metadata.html"),
    ("169.254.42.42", "scaleway.com/en/docs/instances/how-to/use-boot-modes (user data)"),
    ("fd00:42::42", "scaleway.com/en/docs/instances/how-to/use-boot-modes (user data)"),
    ("169.254.0.23", "tencentcloud.com/document/product/213/4934"),
    ("100.96.0.96", "volcengine.com/docs/6396/101265"),
  ]

  package static let all: Set<IPAddress> = Set(
    table.map { entry in
      guard let address = IPAddress(entry.address) else { preconditionFailure("metadata table: \(entry.address)") }
      return address
    })

  /// Names from the documents of Amazon, Google, Azure, Oracle, Alibaba and OpenStack.
  package static let names: Set<String> = [
    "metadata.google.internal", "metadata", "instance-data", "instance-data.ec2.internal", "metadata.azure.internal",
    "metadata.platformequinix.com", "metadata.packet.net",
  ]

  /// True if a connection would reach a metadata service, also by an IPv6 address that embeds its IPv4 address.
  package static func contains(_ address: IPAddress) -> Bool {
    all.contains(address) || address.embeddedIPv4.map(all.contains) ?? false
  }
}
