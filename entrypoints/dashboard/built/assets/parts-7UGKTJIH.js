//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-S3XOHQEE.js";import"./chunk-DUJMGW6Y.js";export{a as Activity,b as Invitations,c as NewProject};
