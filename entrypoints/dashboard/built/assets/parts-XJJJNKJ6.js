//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-BC7UFP4X.js";import"./chunk-GK4TKYYX.js";export{a as Activity,b as Invitations,c as NewProject};
